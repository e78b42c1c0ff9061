// Policies, and the values of their variables.
package main

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/cyberark/conjur-api-go/conjurapi"
)

const policy = `
- !policy
  id: go
  body:
  - !user
    id: ann
    public_keys: [ ssh-ed25519 AAAAC3Nz laptop ]
  - !host web
  - !host other
  - !group readers
  - !group keepers
  - !layer
  - !host-factory { id: hf, layers: [ !layer ] }
  - &secrets
    - !variable db/user
    - !variable "odd a+b"
    - !variable binary
  - !variable last
  - !permit { role: !group readers, privileges: [ read, execute ], resources: *secrets }
  - !grant { role: !group readers, members: [ !host web, !user ann ] }
`

// loadPolicies returns the API keys of what it has made, by role id.
func loadPolicies(admin *conjurapi.Client) map[string]string {
	keys := map[string]string{}
	load := func(mode conjurapi.PolicyMode, branch, text string) (*conjurapi.PolicyResponse, error) {
		return admin.LoadPolicy(mode, branch, strings.NewReader(text))
	}
	step("DryRunPolicy", func() error {
		report, err := admin.DryRunPolicy(conjurapi.PolicyModePost, "root", strings.NewReader(policy))
		return errors.Join(err, want(report != nil && report.Status == "Valid YAML" && len(report.Created.Items) > 5, report))
	})
	step("DryRunPolicy of a wrong text", func() error {
		report, err := admin.DryRunPolicy(conjurapi.PolicyModePost, "root", strings.NewReader("- !hots x\n"))
		return errors.Join(err, want(report != nil && report.Status == "Invalid YAML" && len(report.Errors) == 1, report))
	})
	step("LoadPolicy POST", func() error {
		loaded, err := load(conjurapi.PolicyModePost, "root", policy)
		if err != nil {
			return err
		}
		for id, role := range loaded.CreatedRoles {
			keys[id] = role.APIKey
		}
		return want(len(keys) == 3 && loaded.Version > 0, loaded)
	})
	step("LoadPolicy of a wrong text", func() error {
		_, err := load(conjurapi.PolicyModePost, "root", "- !hots x\n")
		return refused("422", err)
	})
	step("LoadPolicy PATCH", func() error {
		text := "- !variable late\n- !delete { record: !variable binary }\n- !variable bin\n"
		_, err := load(conjurapi.PolicyModePatch, "go", text)
		return err
	})
	step("DryRunPolicy PATCH", func() error {
		text := "- !delete { record: !variable late }\n"
		report, err := admin.DryRunPolicy(conjurapi.PolicyModePatch, "go", strings.NewReader(text))
		return errors.Join(err, want(report != nil && len(report.Deleted.Items) == 1, report))
	})
	step("LoadPolicy PUT", func() error {
		if _, err := load(conjurapi.PolicyModePost, "root", "- !policy goput\n"); err != nil {
			return err
		}
		_, err := load(conjurapi.PolicyModePut, "goput", "- !variable only\n")
		return err
	})
	step("DryRunPolicy PUT", func() error {
		report, err := admin.DryRunPolicy(conjurapi.PolicyModePut, "goput", strings.NewReader("- !variable other\n"))
		return errors.Join(err, want(report != nil && len(report.Created.Items) == 1 && len(report.Deleted.Items) == 1, report))
	})
	return keys
}

func readPolicy(where string, client *conjurapi.Client) {
	step(where+" FetchPolicy", func() error {
		text, err := client.FetchPolicy("go", false, 64, 1000)
		return errors.Join(err, want(strings.Contains(string(text), "!variable db/user"), string(text)))
	})
	step(where+" FetchPolicy as JSON", func() error {
		text, err := client.FetchPolicy("go", true, 64, 1000)
		return errors.Join(err, want(json.Valid(text), string(text)))
	})
	step(where+" FetchPolicy beyond its limit", func() error {
		_, err := client.FetchPolicy("go", false, 64, 1)
		return refused("422", err)
	})
}

func addSecrets(admin *conjurapi.Client) {
	step("AddSecret", func() error {
		return errors.Join(
			admin.AddSecret("go/db/user", "first"),
			admin.AddSecret("go/db/user", "second"),
			admin.AddSecret("go/odd a+b", "odd"),
			admin.AddSecret("go/bin", string([]byte{0xff, 0, 1})),
		)
	})
	step("AddSecret of nothing", func() error {
		return refused("422", admin.AddSecret("go/db/user", ""))
	})
}

func readSecrets(where string, client *conjurapi.Client) {
	step(where+" RetrieveSecret", func() error {
		value, err := client.RetrieveSecret("go/db/user")
		odd, oddErr := client.RetrieveSecret("go/odd a+b")
		return errors.Join(err, oddErr, want(string(value) == "second" && string(odd) == "odd", string(value)))
	})
	step(where+" RetrieveSecret without a value", func() error {
		_, err := client.RetrieveSecret("go/late")
		return refused("CONJ00076E", err)
	})
	step(where+" RetrieveSecretReader", func() error {
		reader, err := client.RetrieveSecretReader("go/db/user")
		if err != nil {
			return err
		}
		value, err := conjurapi.ReadResponseBody(reader)
		return errors.Join(err, want(string(value) == "second", string(value)))
	})
	step(where+" RetrieveSecretWithVersion", func() error {
		value, err := client.RetrieveSecretWithVersion("go/db/user", 1)
		return errors.Join(err, want(string(value) == "first", string(value)))
	})
	step(where+" RetrieveSecretWithVersionReader", func() error {
		reader, err := client.RetrieveSecretWithVersionReader("go/db/user", 1)
		if err != nil {
			return err
		}
		value, err := conjurapi.ReadResponseBody(reader)
		return errors.Join(err, want(string(value) == "first", string(value)))
	})
	step(where+" RetrieveBatchSecrets", func() error {
		values, err := client.RetrieveBatchSecrets([]string{"go/db/user", "go/odd a+b"})
		return errors.Join(err, want(string(values["acme:variable:go/db/user"]) == "second", values))
	})
	step(where+" RetrieveBatchSecrets of bytes", func() error {
		_, err := client.RetrieveBatchSecrets([]string{"go/bin"})
		return refused("406", err)
	})
	step(where+" RetrieveBatchSecretsSafe", func() error {
		values, err := client.RetrieveBatchSecretsSafe([]string{"go/bin"})
		return errors.Join(err, want(string(values["acme:variable:go/bin"]) == string([]byte{0xff, 0, 1}), values))
	})
}
