// Calls of conjur-api-go, unmodified, against a Leader and a Follower. Prints `ok NAME` or `fail NAME: why` per call.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
	return fmt.Errorf("unexpected: %v", got)
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

const policy = `
- !policy
  id: go
  body:
  - !user
    id: ann
    public_keys: [ ssh-ed25519 AAAAC3Nz laptop ]
  - !host web
  - !group readers
  - !layer
  - !host-factory { id: hf, layers: [ !layer ] }
  - &secrets
    - !variable db/user
    - !variable "odd a+b"
    - !variable binary
  - !permit { role: !group readers, privileges: [ read, execute ], resources: *secrets }
  - !grant { role: !group readers, members: [ !host web, !user ann ] }
`

func main() {
	leaderURL, followerURL := os.Getenv("CONJUR_APPLIANCE_URL"), os.Getenv("CONJUR_FOLLOWER_URL")
	adminKey := os.Getenv("CONJUR_ADMIN_KEY")
	admin := clientAt(leaderURL, "admin", adminKey)
	keys := map[string]string{}

	step("Login", func() error {
		key, err := admin.Login("admin", adminKey)
		return errors.Join(err, want(string(key) == adminKey, "another key"))
	})
	step("Authenticate", func() error {
		token, err := admin.Authenticate(authn.LoginPair{Login: "admin", APIKey: adminKey})
		return errors.Join(err, want(json.Valid(token), string(token)))
	})
	step("WhoAmI", func() error {
		who, err := admin.WhoAmI()
		return errors.Join(err, want(strings.Contains(string(who), `"username":"admin"`), string(who)))
	})
	step("ServerVersion", func() error {
		version, err := admin.ServerVersion()
		return errors.Join(err, want(version != "", version), admin.VerifyMinServerVersion("1.23.0"))
	})
	step("EnterpriseServerInfo", func() error {
		info, err := admin.EnterpriseServerInfo()
		return errors.Join(err, want(info != nil && info.Services["possum"].Version != "", info))
	})
	step("DryRunPolicy", func() error {
		report, err := admin.DryRunPolicy(conjurapi.PolicyModePost, "root", strings.NewReader(policy))
		return errors.Join(err, want(report != nil && report.Status == "Valid YAML" && len(report.Created.Items) > 5, report))
	})
	step("DryRunPolicy of a wrong text", func() error {
		report, err := admin.DryRunPolicy(conjurapi.PolicyModePost, "root", strings.NewReader("- !hots x\n"))
		return want(err != nil || (report != nil && report.Status == "Invalid YAML"), report)
	})
	step("LoadPolicy POST", func() error {
		loaded, err := admin.LoadPolicy(conjurapi.PolicyModePost, "root", strings.NewReader(policy))
		if err != nil {
			return err
		}
		for id, role := range loaded.CreatedRoles {
			keys[id] = role.APIKey
		}
		return want(len(keys) == 2 && loaded.Version > 0, loaded)
	})
	step("LoadPolicy PATCH", func() error {
		_, err := admin.LoadPolicy(conjurapi.PolicyModePatch, "go", strings.NewReader("- !variable late\n- !delete { record: !variable binary }\n- !variable bin\n"))
		return err
	})
	step("LoadPolicy PUT", func() error {
		if _, err := admin.LoadPolicy(conjurapi.PolicyModePost, "root", strings.NewReader("- !policy goput\n")); err != nil {
			return err
		}
		_, err := admin.LoadPolicy(conjurapi.PolicyModePut, "goput", strings.NewReader("- !variable only\n"))
		return err
	})
	step("FetchPolicy", func() error {
		text, err := admin.FetchPolicy("go", false, 64, 1000)
		return errors.Join(err, want(strings.Contains(string(text), "!variable db/user"), string(text)))
	})
	step("FetchPolicy as JSON", func() error {
		text, err := admin.FetchPolicy("go", true, 64, 1000)
		return errors.Join(err, want(json.Valid(text), string(text)))
	})
	step("AddSecret", func() error {
		return errors.Join(
			admin.AddSecret("go/db/user", "first"),
			admin.AddSecret("go/db/user", "second"),
			admin.AddSecret("go/odd a+b", "odd"),
			admin.AddSecret("go/bin", string([]byte{0xff, 0, 1})),
		)
	})

	read := func(where string, client *conjurapi.Client) {
		step(where+" RetrieveSecret", func() error {
			value, err := client.RetrieveSecret("go/db/user")
			odd, oddErr := client.RetrieveSecret("go/odd a+b")
			return errors.Join(err, oddErr, want(string(value) == "second" && string(odd) == "odd", string(value)))
		})
		step(where+" RetrieveSecretWithVersion", func() error {
			value, err := client.RetrieveSecretWithVersion("go/db/user", 1)
			return errors.Join(err, want(string(value) == "first", string(value)))
		})
		step(where+" RetrieveBatchSecrets", func() error {
			values, err := client.RetrieveBatchSecrets([]string{"go/db/user", "go/odd a+b"})
			return errors.Join(err, want(string(values["acme:variable:go/db/user"]) == "second", values))
		})
		step(where+" RetrieveBatchSecretsSafe", func() error {
			values, err := client.RetrieveBatchSecretsSafe([]string{"go/bin"})
			return errors.Join(err, want(string(values["acme:variable:go/bin"]) == string([]byte{0xff, 0, 1}), values))
		})
		step(where+" Resources", func() error {
			found, err := client.Resources(&conjurapi.ResourceFilter{Kind: "variable", Search: "user", Limit: 5})
			return errors.Join(err, want(len(found) == 1, found))
		})
		step(where+" ResourceIDs", func() error {
			ids, err := client.ResourceIDs(&conjurapi.ResourceFilter{Kind: "host"})
			return errors.Join(err, want(slices.Contains(ids, "acme:host:go/web"), ids))
		})
		step(where+" ResourcesCount", func() error {
			count, err := client.ResourcesCount(&conjurapi.ResourceFilter{Kind: "group"})
			return errors.Join(err, want(count != nil && count.Count >= 1, count))
		})
		step(where+" Resource", func() error {
			resource, err := client.Resource("acme:variable:go/db/user")
			return errors.Join(err, want(resource["owner"] == "acme:policy:go", resource))
		})
		step(where+" ResourceExists", func() error {
			here, err := client.ResourceExists("acme:variable:go/db/user")
			gone, goneErr := client.ResourceExists("acme:variable:go/none")
			return errors.Join(err, goneErr, want(here && !gone, here))
		})
		step(where+" PermittedRoles", func() error {
			roles, err := client.PermittedRoles("acme:variable:go/db/user", "execute")
			return errors.Join(err, want(slices.Contains(roles, "acme:host:go/web"), roles))
		})
		step(where+" CheckPermission", func() error {
			allowed, err := client.CheckPermission("acme:variable:go/db/user", "execute")
			return errors.Join(err, want(allowed, allowed))
		})
		step(where+" CheckPermissionForRole", func() error {
			allowed, err := client.CheckPermissionForRole("acme:variable:go/db/user", "acme:host:go/web", "update")
			return errors.Join(err, want(!allowed, allowed))
		})
		step(where+" Role", func() error {
			role, err := client.Role("acme:group:go/readers")
			return errors.Join(err, want(role["id"] == "acme:group:go/readers", role))
		})
		step(where+" RoleExists", func() error {
			here, err := client.RoleExists("acme:group:go/readers")
			return errors.Join(err, want(here, here))
		})
		step(where+" RoleMembers", func() error {
			members, err := client.RoleMembers("acme:group:go/readers")
			return errors.Join(err, want(len(members) == 3, members))
		})
		step(where+" RoleMemberships", func() error {
			memberships, err := client.RoleMemberships("acme:host:go/web")
			return errors.Join(err, want(len(memberships) == 1, memberships))
		})
		step(where+" RoleMembershipsAll", func() error {
			all, err := client.RoleMembershipsAll("acme:host:go/web")
			return errors.Join(err, want(slices.Contains(all, "acme:group:go/readers"), all))
		})
		step(where+" PublicKeys", func() error {
			keys, err := client.PublicKeys("user", "ann@go")
			return errors.Join(err, want(strings.HasSuffix(string(keys), "laptop\n"), string(keys)))
		})
	}
	read("Leader", admin)
	// What was acknowledged is at the Follower within a heartbeat.
	follower := clientAt(followerURL, "admin", adminKey)
	for range 200 {
		if value, err := follower.RetrieveSecret("go/bin"); err == nil && len(value) == 3 {
			break
		}
	}
	read("Follower", follower)
	step("Follower AddSecret is refused", func() error {
		return want(follower.AddSecret("go/db/user", "third") != nil, "a write was taken")
	})
	step("token file", func() error {
		token, err := follower.Authenticate(authn.LoginPair{Login: "host/go/web", APIKey: keys["acme:host:go/web"]})
		if err != nil {
			return err
		}
		file := filepath.Join(os.Getenv("CONJUR_WORK_DIR"), "go-token")
		if err := os.WriteFile(file, token, 0o600); err != nil {
			return err
		}
		client, err := conjurapi.NewClientFromTokenFile(configOf(followerURL), file)
		if err != nil {
			return err
		}
		value, err := client.RetrieveSecret("go/db/user")
		return errors.Join(err, want(string(value) == "second", string(value)))
	})
	step("RotateHostAPIKey", func() error {
		key, err := admin.RotateHostAPIKey("go/web")
		return errors.Join(err, want(string(key) != keys["acme:host:go/web"] && len(key) > 40, string(key)))
	})
	step("RotateUserAPIKey", func() error {
		key, err := admin.RotateUserAPIKey("ann@go")
		keys["acme:user:ann@go"] = string(key)
		return errors.Join(err, want(len(key) > 40, string(key)))
	})
	step("RotateAPIKey", func() error {
		key, err := admin.RotateAPIKey("acme:user:ann@go")
		keys["acme:user:ann@go"] = string(key)
		return errors.Join(err, want(len(key) > 40, string(key)))
	})
	step("ChangeUserPassword", func() error {
		_, err := admin.ChangeUserPassword("ann@go", keys["acme:user:ann@go"], "My-Secret-Pa55!")
		if err != nil {
			return err
		}
		key, err := admin.Login("ann@go", "My-Secret-Pa55!")
		return errors.Join(err, want(string(key) == keys["acme:user:ann@go"], "another key"))
	})
	step("CreateToken, CreateHost, DeleteToken", func() error {
		tokens, err := admin.CreateToken("1h", "acme:host_factory:go/hf", []string{"127.0.0.0/8"}, 2)
		if err != nil || len(tokens) != 2 {
			return errors.Join(err, want(len(tokens) == 2, tokens))
		}
		host, err := admin.CreateHost("go/made", tokens[0].Token)
		annotated, more := admin.CreateHostWithAnnotations("go/made2", tokens[0].Token, map[string]string{"a": "b"})
		return errors.Join(err, more, want(host.ApiKey != "" && annotated.ApiKey != "", host), admin.DeleteToken(tokens[0].Token))
	})
	step("V2 AddGroupMember", func() error {
		added, err := admin.V2().AddGroupMember("go/readers", conjurapi.GroupMember{ID: "go/made", Kind: "host"})
		return errors.Join(err, want(added != nil && added.ID == "go/made", added))
	})
	step("V2 RemoveGroupMember", func() error {
		_, err := admin.V2().RemoveGroupMember("go/readers", conjurapi.GroupMember{ID: "go/made", Kind: "host"})
		return err
	})
	if failed {
		os.Exit(1)
	}
}
