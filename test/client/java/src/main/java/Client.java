import com.cyberark.conjur.api.Conjur;
import com.cyberark.conjur.api.Token;
import java.util.concurrent.Callable;

/** Calls of conjur-api for Java, unmodified, against a Leader and a Follower. Prints a line per call. */
public class Client {
  private static boolean failed = false;

  private static void step(String name, Callable<Boolean> call) {
    try {
      if (call.call()) {
        System.out.println("ok " + name);
        return;
      }
      System.out.println("fail " + name + ": not what was expected");
    } catch (Exception error) {
      System.out.println("fail " + name + ": " + String.valueOf(error).replace('\n', ' '));
    }
    failed = true;
  }

  public static void main(String[] args) {
    // Its endpoints are read from the environment: one node per run.
    String where = System.getenv("CONJUR_CLIENT_NODE");
    Conjur conjur = new Conjur("admin", System.getenv("CONJUR_ADMIN_KEY"));
    if (where.equals("Leader")) {
      step("Leader addSecret", () -> {
        conjur.variables().addSecret("java/db/user", "second");
        conjur.variables().addSecret("java/odd a+b", "odd");
        return true;
      });
    } else {
      step("Follower addSecret is refused", () -> {
        try {
          conjur.variables().addSecret("java/db/user", "third");
          return false;
        } catch (Exception refused) {
          return true;
        }
      });
    }
    step(where + " retrieveSecret", () -> conjur.variables().retrieveSecret("java/db/user").equals("second"));
    step(where + " retrieveSecret of an odd id", () -> conjur.variables().retrieveSecret("java/odd a+b").equals("odd"));
    step(where + " retrieveSecret with a token", () -> {
      Token token = Token.fromJson(System.getenv("CONJUR_CLIENT_TOKEN"));
      return new Conjur(token).variables().retrieveSecret("java/db/user").equals("second");
    });
    System.exit(failed ? 1 : 0);
  }
}
