// Calls of conjur-api-go, unmodified, against a Leader and a Follower. Prints `ok NAME` or `fail NAME: why` per call.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cyberark/conjur-api-go/conjurapi"
	"github.com/cyberark/conjur-api-go/conjurapi/authn"
)

var failed = false

func step(name string, call func() error) {
	if err := call(); err != nil {
		failed = true
		fmt.Printf("fail %s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Printf("ok %s\n", name)
}

func want(holds bool, got any) error {
	if holds {
		return nil
	}
	return fmt.Errorf("unexpected: %+v", got)
}

// refused wants the call to have failed with this status.
func refused(status string, err error) error {
	if err != nil && strings.Contains(err.Error(), status) {
		return nil
	}
	return fmt.Errorf("not refused with %s: %v", status, err)
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Printf("fail set-up: %s\n", err)
		os.Exit(1)
	}
	return value
}

func clientAt(url string, login string, key string) *conjurapi.Client {
	return must(conjurapi.NewClientFromKey(configOf(url), authn.LoginPair{Login: login, APIKey: key}))
}

func configOf(url string) conjurapi.Config {
	return conjurapi.Config{
		ApplianceURL:      url,
		Account:           os.Getenv("CONJUR_ACCOUNT"),
		SSLCertPath:       os.Getenv("CONJUR_CERT_FILE"),
		CredentialStorage: conjurapi.CredentialStorageNone,
	}
}

func inWorkDir(name string) string {
	return filepath.Join(os.Getenv("CONJUR_WORK_DIR"), name)
}

func main() {
	leaderURL, followerURL := os.Getenv("CONJUR_APPLIANCE_URL"), os.Getenv("CONJUR_FOLLOWER_URL")
	adminKey := os.Getenv("CONJUR_ADMIN_KEY")
	admin, follower := clientAt(leaderURL, "admin", adminKey), clientAt(followerURL, "admin", adminKey)

	keys := loadPolicies(admin)
	addSecrets(admin)
	createIssuers(admin)
	createAuthenticators(admin)
	createBranches(admin)
	changeMembers(admin)
	must(0, admin.AddSecret("go/last", "here"))
	waitFor(follower, "go/last")

	for _, node := range []struct {
		name   string
		client *conjurapi.Client
	}{{"Leader", admin}, {"Follower", follower}} {
		where, client := node.name, node.client
		identify(where, client, adminKey)
		readSecrets(where, client)
		readDirectory(where, client)
		readPolicy(where, client)
		readIssuers(where, client)
		readAuthenticators(where, client)
		readBranches(where, client)
		hold(where, client.GetConfig(), keys["acme:host:go/web"])
	}
	refuseWrites(follower)

	useHostFactory(admin)
	changeCredentials(admin, keys)
	changeIssuers(admin)
	changeAuthenticators(admin)
	changeBranches(admin)
	if failed {
		os.Exit(1)
	}
}

// waitFor returns once the Follower has the last of what the Leader has acknowledged.
func waitFor(follower *conjurapi.Client, variable string) {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if _, err := follower.RetrieveSecret(variable); err == nil {
			return
		}
	}
	must(0, fmt.Errorf("the Follower has no %s", variable))
}

func refuseWrites(follower *conjurapi.Client) {
	step("Follower AddSecret is refused", func() error {
		return refused("405", follower.AddSecret("go/db/user", "third"))
	})
	step("Follower LoadPolicy is refused", func() error {
		_, err := follower.LoadPolicy(conjurapi.PolicyModePost, "root", strings.NewReader("- !variable x\n"))
		return refused("405", err)
	})
	step("Follower CreateIssuer is refused", func() error {
		_, err := follower.CreateIssuer(issuer("go-more"))
		return refused("405", err)
	})
	step("Follower V2 CreateBranch is refused", func() error {
		_, err := follower.V2().CreateBranch(conjurapi.Branch{Name: "more", Branch: "go"})
		return refused("405", err)
	})
	step("Follower EnableAuthenticator is refused", func() error {
		return refused("405", follower.EnableAuthenticator("jwt", "go-ci", false))
	})
	step("Follower RotateHostAPIKey is refused", func() error {
		_, err := follower.RotateHostAPIKey("go/web")
		return refused("405", err)
	})
}
