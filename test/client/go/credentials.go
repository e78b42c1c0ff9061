// Who asks: logins, tokens, API keys, passwords, and what a client keeps of them.
package main

import (
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/cyberark/conjur-api-go/conjurapi"
	"github.com/cyberark/conjur-api-go/conjurapi/authn"
)

func identify(where string, client *conjurapi.Client, adminKey string) {
	admin := authn.LoginPair{Login: "admin", APIKey: adminKey}
	step(where+" Login", func() error {
		key, err := client.Login("admin", adminKey)
		return errors.Join(err, want(string(key) == adminKey, "another key"))
	})
	step(where+" Login with a wrong password", func() error {
		_, err := client.Login("admin", "wrong")
		return refused("401", err)
	})
	step(where+" Authenticate", func() error {
		token, err := client.Authenticate(admin)
		return errors.Join(err, want(json.Valid(token), string(token)))
	})
	step(where+" Authenticate with a wrong key", func() error {
		_, err := client.Authenticate(authn.LoginPair{Login: "admin", APIKey: "wrong"})
		return refused("401", err)
	})
	step(where+" AuthenticateReader", func() error {
		reader, err := client.AuthenticateReader(admin)
		if err != nil {
			return err
		}
		token, err := conjurapi.ReadResponseBody(reader)
		return errors.Join(err, want(json.Valid(token), string(token)))
	})
	step(where+" InternalAuthenticate, RefreshToken, ForceRefreshToken", func() error {
		token, err := client.InternalAuthenticate()
		refreshed := errors.Join(client.RefreshToken(), client.ForceRefreshToken())
		return errors.Join(err, refreshed, want(json.Valid(token) && !client.NeedsTokenRefresh(), string(token)))
	})
	step(where+" WhoAmI", func() error {
		who, err := client.WhoAmI()
		return errors.Join(err, want(strings.Contains(string(who), `"username":"admin"`), string(who)))
	})
	step(where+" ServerVersion, ServerVersionFromRoot, VerifyMinServerVersion", func() error {
		version, err := client.ServerVersion()
		fromRoot, more := client.ServerVersionFromRoot()
		return errors.Join(err, more, client.VerifyMinServerVersion("1.24.0"), want(version == fromRoot, version))
	})
	step(where+" EnterpriseServerInfo, HasSelfHostedSurface", func() error {
		info, err := client.EnterpriseServerInfo()
		holds := info != nil && info.Services["possum"].Version != "" && client.HasSelfHostedSurface()
		return errors.Join(err, want(holds, info))
	})
}

// hold makes clients of everything that a client can hold instead of a key, as a host.
func hold(where string, config conjurapi.Config, key string) {
	web := authn.LoginPair{Login: "host/go/web", APIKey: key}
	reads := func(client *conjurapi.Client, err error) error {
		if err != nil {
			return err
		}
		value, err := client.RetrieveSecret("go/db/user")
		return errors.Join(err, want(string(value) == "second", string(value)))
	}
	token := must(must(conjurapi.NewClient(config)).Authenticate(web))
	file := inWorkDir("token-" + where)
	must(0, os.WriteFile(file, token, 0o600))
	step(where+" NewClientFromToken", func() error {
		return reads(conjurapi.NewClientFromToken(config, string(token)))
	})
	// It is for hosts of the hosted product, and asks as every host does.
	step(where+" NewClientFromCloudHost", func() error {
		return reads(conjurapi.NewClientFromCloudHost(config, web.Login, web.APIKey))
	})
	step(where+" NewClientFromTokenFile", func() error {
		return reads(conjurapi.NewClientFromTokenFile(config, file))
	})
	for _, given := range []map[string]string{
		{"CONJUR_AUTHN_LOGIN": web.Login, "CONJUR_AUTHN_API_KEY": web.APIKey},
		{"CONJUR_AUTHN_TOKEN": string(token)},
		{"CONJUR_AUTHN_TOKEN_FILE": file},
	} {
		names := []string{}
		for name, value := range given {
			names = append(names, name)
			must(0, os.Setenv(name, value))
		}
		must(0, os.Setenv("CONJUR_APPLIANCE_URL", config.ApplianceURL))
		step(where+" LoadConfig, NewClientFromEnvironment of "+strings.Join(names, ", "), func() error {
			loaded, err := conjurapi.LoadConfig()
			if err != nil {
				return err
			}
			return reads(conjurapi.NewClientFromEnvironment(loaded))
		})
		for _, name := range names {
			must(0, os.Unsetenv(name))
		}
	}
	step(where+" Login, NewClientFromEnvironment, PurgeCredentials of a file", func() error {
		stored := config
		stored.CredentialStorage, stored.NetRCPath = conjurapi.CredentialStorageFile, inWorkDir("netrc-"+where)
		_, err := must(conjurapi.NewClient(stored)).Login(web.Login, web.APIKey)
		holds := reads(conjurapi.NewClientFromEnvironment(stored))
		purged := conjurapi.PurgeCredentials(stored)
		_, gone := conjurapi.NewClientFromEnvironment(stored)
		return errors.Join(err, holds, purged, want(gone != nil, "they are kept"))
	})
}

func useHostFactory(admin *conjurapi.Client) {
	step("CreateToken, CreateHost, DeleteToken", func() error {
		tokens, err := admin.CreateToken("1h", "acme:host_factory:go/hf", []string{"127.0.0.0/8"}, 2)
		if err != nil || len(tokens) != 2 {
			return errors.Join(err, want(len(tokens) == 2, tokens))
		}
		host, err := admin.CreateHost("go/made", tokens[0].Token)
		annotated, more := admin.CreateHostWithAnnotations("go/made2", tokens[0].Token, map[string]string{"a": "b"})
		deleted := admin.DeleteToken(tokens[0].Token)
		_, late := admin.CreateHost("go/made3", tokens[0].Token)
		return errors.Join(err, more, deleted, want(host.ApiKey != "" && annotated.ApiKey != "", host), refused("401", late))
	})
	step("CreateToken of an unknown host factory", func() error {
		_, err := admin.CreateToken("1h", "acme:host_factory:go/none", nil, 1)
		return refused("404", err)
	})
}

func changeCredentials(admin *conjurapi.Client, keys map[string]string) {
	rotated := func(id string, rotate func() ([]byte, error)) error {
		key, err := rotate()
		differs := len(key) > 40 && string(key) != keys[id]
		keys[id] = string(key)
		return errors.Join(err, want(differs, string(key)))
	}
	const ann = "acme:user:ann@go"
	step("RotateHostAPIKey", func() error {
		return rotated("acme:host:go/web", func() ([]byte, error) { return admin.RotateHostAPIKey("go/web") })
	})
	step("RotateUserAPIKey", func() error {
		return rotated(ann, func() ([]byte, error) { return admin.RotateUserAPIKey("ann@go") })
	})
	step("RotateAPIKey", func() error {
		return rotated(ann, func() ([]byte, error) { return admin.RotateAPIKey(ann) })
	})
	step("RotateAPIKey of an unknown role", func() error {
		_, err := admin.RotateAPIKey("acme:user:none")
		return refused("404", err)
	})
	step("RotateAPIKeyReader", func() error {
		return rotated(ann, func() ([]byte, error) {
			reader, err := admin.RotateAPIKeyReader(ann)
			if err != nil {
				return nil, err
			}
			return conjurapi.ReadResponseBody(reader)
		})
	})
	config := admin.GetConfig()
	config.CredentialStorage, config.NetRCPath = conjurapi.CredentialStorageFile, inWorkDir("netrc")
	own := must(conjurapi.NewClient(config))
	step("RotateCurrentUserAPIKey", func() error {
		must(own.Login("ann@go", keys[ann]))
		return rotated(ann, own.RotateCurrentUserAPIKey)
	})
	step("RotateCurrentRoleAPIKey", func() error {
		must(own.Login("ann@go", keys[ann]))
		return rotated(ann, own.RotateCurrentRoleAPIKey)
	})
	step("ChangeUserPassword", func() error {
		_, err := own.ChangeUserPassword("ann@go", keys[ann], "My-Secret-Pa55!")
		key, more := own.Login("ann@go", "My-Secret-Pa55!")
		return errors.Join(err, more, want(string(key) == keys[ann], "another key"))
	})
	step("ChangeCurrentUserPassword", func() error {
		_, err := own.ChangeCurrentUserPassword("My-0ther-Secret!")
		key, more := own.Login("ann@go", "My-0ther-Secret!")
		return errors.Join(err, more, want(string(key) == keys[ann], "another key"))
	})
	step("ChangeUserPassword to a weak one", func() error {
		_, err := own.ChangeUserPassword("ann@go", keys[ann], "weak")
		return refused("CONJ00046E", err)
	})
	step("PurgeCredentials", func() error {
		err := own.PurgeCredentials()
		_, gone := own.RotateCurrentUserAPIKey()
		return errors.Join(err, want(gone != nil, "they are kept"))
	})
}
