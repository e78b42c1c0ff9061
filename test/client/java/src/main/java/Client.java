import com.cyberark.conjur.api.Conjur;
import com.cyberark.conjur.api.Credentials;
import com.cyberark.conjur.api.Endpoints;
import com.cyberark.conjur.api.Token;
import com.cyberark.conjur.api.clients.AuthnClient;
import com.cyberark.conjur.api.clients.AuthnTokenClient;
import com.cyberark.conjur.api.clients.ResourceClient;
import java.io.FileInputStream;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.concurrent.Callable;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Calls of conjur-api for Java, unmodified, against a Leader and a Follower. Prints a line per call. */
public class Client {
  private static boolean failed = false;
  private static final String VARIABLE = "java/db/user";

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

  /** A call that has to be refused with this status. */
  private static void refused(String name, int status, Callable<?> call) {
    step(name, () -> {
      try {
        call.call();
        return false;
      } catch (Exception error) {
        return String.valueOf(error).contains(String.valueOf(status));
      }
    });
  }

  /** Its endpoints are read from the environment: one node per run. The argument is a store with our authority. */
  public static void main(String[] args) throws Exception {
    String where = System.getenv("CONJUR_CLIENT_NODE");
    String key = System.getenv("CONJUR_ADMIN_KEY");
    SSLContext trust = trusting(args[0]);
    if (where.equals("Leader")) writes(new Conjur("admin", key, trust));
    else refused("Follower addSecret is refused", 405, () -> {
      new Conjur("admin", key, trust).variables().addSecret(VARIABLE, "third");
      return true;
    });
    variables(where, key, trust);
    clients(where, key, trust);
    System.setProperty("javax.net.ssl.trustStore", args[0]);
    System.setProperty("javax.net.ssl.trustStorePassword", "changeit");
    trustedByTheSystem(where, key);
    System.exit(failed ? 1 : 0);
  }

  private static SSLContext trusting(String store) throws Exception {
    KeyStore keys = KeyStore.getInstance("JKS");
    try (InputStream file = new FileInputStream(store)) {
      keys.load(file, "changeit".toCharArray());
    }
    TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    factory.init(keys);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(null, factory.getTrustManagers(), null);
    return context;
  }

  private static void writes(Conjur conjur) {
    step("Leader addSecret", () -> {
      conjur.variables().addSecret(VARIABLE, "first");
      conjur.variables().addSecret(VARIABLE, "second");
      conjur.variables().addSecret("java/odd a+b", "odd");
      return true;
    });
    refused("Leader addSecret of none", 404, () -> {
      conjur.variables().addSecret("java/no", "x");
      return true;
    });
  }

  private static void variables(String where, String key, SSLContext trust) {
    Conjur conjur = new Conjur("admin", key, trust);
    step(where + " retrieveSecret", () -> conjur.variables().retrieveSecret(VARIABLE).equals("second"));
    step(where + " retrieveSecret of an odd id", () -> conjur.variables().retrieveSecret("java/odd a+b").equals("odd"));
    refused(where + " retrieveSecret without a value", 404, () -> conjur.variables().retrieveSecret("java/none"));
    refused(where + " retrieveSecret with a wrong key", 401, () -> new Conjur("admin", "wrong", trust).variables().retrieveSecret(VARIABLE));
    String authn = System.getenv("CONJUR_APPLIANCE_URL") + "/authn";
    step(where + " retrieveSecret by an address for logins", () ->
        new Conjur("admin", key, authn, trust).variables().retrieveSecret(VARIABLE).equals("second"));
    step(where + " retrieveSecret by Credentials", () ->
        new Conjur(new Credentials("admin", key), trust).variables().retrieveSecret(VARIABLE).equals("second"));
  }

  private static void clients(String where, String key, SSLContext trust) {
    Credentials admin = new Credentials("admin", key);
    Endpoints endpoints = Endpoints.fromCredentials(admin);
    AuthnClient authn = new AuthnClient(admin, endpoints, trust);
    step(where + " AuthnClient login", () -> authn.login().equals(key));
    step(where + " AuthnClient authenticate", () -> {
      Token token = authn.authenticate();
      return !token.isExpired() && token.willExpireWithin(600) && token.toHeader().startsWith("Token token=\"");
    });
    step(where + " AuthnClient authenticate anew", () -> !authn.authenticate(false).isExpired());
    step(where + " AuthnTokenClient, Token.fromJson", () -> {
      Token token = Token.fromJson(authn.authenticate().toString());
      Token held = new AuthnTokenClient(token).authenticate();
      return new Conjur(held, trust).variables().retrieveSecret(VARIABLE).equals("second");
    });
    step(where + " Token.fromFile, fromEnv", () -> {
      Path file = Path.of(System.getenv("CONJUR_AUTHN_TOKEN_FILE"));
      Files.writeString(file, authn.authenticate().toString());
      return new Conjur(Token.fromFile(file), trust).variables().retrieveSecret(VARIABLE).equals("second")
          && new Conjur(Token.fromEnv(), trust).variables().retrieveSecret(VARIABLE).equals("second");
    });
    step(where + " ResourceClient", () ->
        new ResourceClient(admin, endpoints, trust).retrieveSecret(VARIABLE).equals("second"));
    step(where + " ResourceClient with a token", () ->
        new ResourceClient(authn.authenticate(), Endpoints.fromSystemProperties(), trust).retrieveSecret(VARIABLE).equals("second"));
  }

  /** Without a context of their own, clients trust what Java does, and log in with what its properties say. */
  private static void trustedByTheSystem(String where, String key) {
    step(where + " Conjur of a key", () -> new Conjur("admin", key).variables().retrieveSecret(VARIABLE).equals("second"));
    System.setProperty("CONJUR_AUTHN_LOGIN", "admin");
    System.setProperty("CONJUR_AUTHN_API_KEY", key);
    step(where + " Conjur of system properties", () -> new Conjur().variables().retrieveSecret(VARIABLE).equals("second"));
  }
}
