// Authenticators: made, shown, switched and removed.
package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/cyberark/conjur-api-go/conjurapi"
)

const authenticatorPolicies = `
- !policy conjur/authn-jwt
- !policy conjur/authn-oidc
- !policy conjur/authn-azure
- !policy conjur/authn-iam
- !policy conjur/authn-ldap
- !policy conjur/authn-k8s
- !policy conjur/authn-gcp
`

const keySet = `{"type":"jwks","value":{"keys":[{"kty":"RSA","kid":"one","n":"AQAB","e":"AQAB"}]}}`

// definitions has one of every type that V2 knows, all named go-ci but the one that has no service id.
func definitions() []conjurapi.AuthenticatorBase {
	data := map[string]map[string]any{
		"jwt": {
			"public_keys": keySet,
			"issuer":      "https://issuer.example",
			"audience":    "conjur",
			"identity": map[string]any{
				"token_app_property": "sub",
				"identity_path":      "go",
				"enforced_claims":    []string{"project"},
				"claim_aliases":      map[string]string{"project": "project_id"},
			},
		},
		"oidc": {
			"provider_uri":  "https://provider.example",
			"client_id":     "id",
			"client_secret": "secret",
			"redirect_uri":  "https://app.example/back",
			"claim_mapping": "email",
		},
		"azure": {"provider_uri": "https://sts.example/tenant"},
		"ldap":  {"bind_password": "password"},
		"k8s":   {"kubernetes/api_url": "https://cluster.example", "kubernetes/ca_cert": "pem"},
		"aws":   nil,
		"gcp":   nil,
	}
	all := []conjurapi.AuthenticatorBase{}
	for kind, settings := range data {
		name := "go-ci"
		if kind == "gcp" {
			name = "default"
		}
		all = append(all, conjurapi.AuthenticatorBase{Type: kind, Name: name, Enabled: conjurapi.Bool(true), Data: settings})
	}
	return all
}

func createAuthenticators(admin *conjurapi.Client) {
	must(admin.LoadPolicy(conjurapi.PolicyModePost, "root", strings.NewReader(authenticatorPolicies)))
	for _, definition := range definitions() {
		step("V2 CreateAuthenticator of "+definition.Type, func() error {
			definition.Owner = &conjurapi.AuthOwner{ID: "go/keepers", Kind: "group"}
			definition.Annotations = map[string]string{"team": "go"}
			made, err := admin.V2().CreateAuthenticator(&definition)
			return errors.Join(err, want(made != nil && made.Type == definition.Type && *made.Enabled && made.Branch != "", made))
		})
	}
	step("V2 CreateAuthenticator that is there", func() error {
		again := conjurapi.AuthenticatorBase{Type: "aws", Name: "go-ci"}
		_, err := admin.V2().CreateAuthenticator(&again)
		return refused("already exists", err)
	})
	step("V2 CreateAuthenticator without its settings", func() error {
		_, err := admin.V2().CreateAuthenticator(&conjurapi.AuthenticatorBase{Type: "jwt", Name: "go-bare"})
		return refused("CONJ00190W", err)
	})
}

func readAuthenticators(where string, client *conjurapi.Client) {
	for _, definition := range definitions() {
		if definition.Type == "gcp" {
			// The client asks for it without a name, which no server answers.
			continue
		}
		step(where+" V2 GetAuthenticator of "+definition.Type, func() error {
			found, err := client.V2().GetAuthenticator(definition.Type, definition.Name)
			if err != nil {
				return err
			}
			holds := found.Owner.ID == "go/keepers" && found.Annotations["team"] == "go" && len(found.Data) == len(definition.Data)
			return want(holds, found)
		})
	}
	step(where+" V2 GetAuthenticator that is not there", func() error {
		_, err := client.V2().GetAuthenticator("jwt", "none")
		return refused("not found", err)
	})
	step(where+" V2 ListAuthenticators", func() error {
		all, err := client.V2().ListAuthenticators()
		return errors.Join(err, want(all != nil && all.Count == len(definitions()) && len(all.Authenticators) == all.Count, all))
	})
	step(where+" AuthenticatorStatus", func() error {
		status, err := client.AuthenticatorStatus("jwt", "go-ci")
		return errors.Join(err, want(status != nil && status.Status == "ok", status))
	})
	step(where+" AuthenticatorStatus of one without", func() error {
		_, err := client.AuthenticatorStatus("ldap", "go-ci")
		return refused("CONJ00056E", err)
	})
	step(where+" AuthenticatorStatus of gcp", func() error {
		status, err := client.AuthenticatorStatus("gcp", "")
		return errors.Join(err, want(status != nil && status.Status == "ok", status))
	})
	step(where+" Resources of authenticators", func() error {
		ids, err := client.ResourceIDs(&conjurapi.ResourceFilter{Kind: "webservice"})
		return errors.Join(err, want(slices.Contains(ids, "acme:webservice:conjur/authn-jwt/go-ci/status"), ids))
	})
}

func changeAuthenticators(admin *conjurapi.Client) {
	enabled := func() bool {
		return *must(admin.V2().GetAuthenticator("jwt", "go-ci")).Enabled
	}
	step("EnableAuthenticator off", func() error {
		err := admin.EnableAuthenticator("jwt", "go-ci", false)
		return errors.Join(err, want(!enabled(), "on"))
	})
	step("AuthenticatorStatus of one that is off", func() error {
		_, err := admin.AuthenticatorStatus("jwt", "go-ci")
		return refused("CONJ00004E", err)
	})
	step("EnableAuthenticator on", func() error {
		err := admin.EnableAuthenticator("jwt", "go-ci", true)
		return errors.Join(err, want(enabled(), "off"))
	})
	step("EnableAuthenticator of one that is not there", func() error {
		return refused("401", admin.EnableAuthenticator("jwt", "none", true))
	})
	step("V2 UpdateAuthenticator", func() error {
		off, err := admin.V2().UpdateAuthenticator("jwt", "go-ci", false)
		on, more := admin.V2().UpdateAuthenticator("jwt", "go-ci", true)
		return errors.Join(err, more, want(!*off.Enabled && *on.Enabled, off))
	})
	step("V2 DeleteAuthenticator", func() error {
		err := admin.V2().DeleteAuthenticator("jwt", "go-ci")
		_, gone := admin.V2().GetAuthenticator("jwt", "go-ci")
		return errors.Join(err, refused("not found", gone))
	})
	step("V2 DeleteAuthenticator of aws", func() error {
		return admin.V2().DeleteAuthenticator("aws", "go-ci")
	})
}
