// Issuers, and the secrets that are made of them when they are read.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/cyberark/conjur-api-go/conjurapi"
	"github.com/cyberark/conjur-api-go/conjurapi/response"
)

func issuer(id string) conjurapi.Issuer {
	return conjurapi.Issuer{ID: id, Type: "aws", MaxTTL: 3600, Data: issuerKey("AKIAIOSFODNN7EXAMPLE")}
}

func issuerKey(id string) map[string]any {
	return map[string]any{
		"access_key_id":     id,
		"secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
	}
}

const dynamic = `
- !policy
  id: dynamic
  body:
  - !variable
    id: go-key
    annotations:
      dynamic/issuer: go-aws
      dynamic/method: assume-role
      dynamic/ttl: 1800
      dynamic/role-arn: arn:aws:iam::123456789012:role/go
`

func createIssuers(admin *conjurapi.Client) {
	step("CreateIssuer", func() error {
		created, err := admin.CreateIssuer(issuer("go-aws"))
		masked := created.Data["secret_access_key"] == "*****" && created.CreatedAt != ""
		return errors.Join(err, want(created.ID == "go-aws" && created.MaxTTL == 3600 && masked, created))
	})
	step("CreateIssuer that is there", func() error {
		_, err := admin.CreateIssuer(issuer("go-aws"))
		return refused("409", err)
	})
	step("CreateIssuer of a wrong time to live", func() error {
		wrong := issuer("go-wrong")
		wrong.MaxTTL = 1
		_, err := admin.CreateIssuer(wrong)
		return refused("max_ttl", err)
	})
	step("LoadPolicy of a dynamic variable", func() error {
		if _, err := admin.LoadPolicy(conjurapi.PolicyModePost, "root", strings.NewReader("- !policy data\n")); err != nil {
			return err
		}
		_, err := admin.LoadPolicy(conjurapi.PolicyModePost, "data", strings.NewReader(dynamic))
		return err
	})
	step("AddSecret of a dynamic variable is refused", func() error {
		return refused("405", admin.AddSecret("data/dynamic/go-key", "x"))
	})
}

func readIssuers(where string, client *conjurapi.Client) {
	step(where+" Issuer", func() error {
		found, err := client.Issuer("go-aws")
		return errors.Join(err, want(found.Type == "aws" && found.Data["access_key_id"] == "AKIAIOSFODNN7EXAMPLE", found))
	})
	step(where+" Issuer that is not there", func() error {
		_, err := client.Issuer("go-none")
		return refused("Issuer not found", err)
	})
	// There is no call for it: a request of one's own, sent by the client.
	step(where+" SubmitRequest for the minimal projection of an issuer", func() error {
		config := client.GetConfig()
		url := fmt.Sprintf("%s/issuers/%s/go-aws?projection=minimal", config.ApplianceURL, config.Account)
		request, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := client.SubmitRequest(request)
		if err != nil {
			return err
		}
		body, err := response.DataResponse(answer)
		return errors.Join(err, want(string(body) == `{"max_ttl":3600}`, string(body)))
	})
	step(where+" Issuers", func() error {
		all, err := client.Issuers()
		return errors.Join(err, want(len(all) == 1 && all[0].ID == "go-aws", all))
	})
	step(where+" RetrieveSecret of a dynamic variable", func() error {
		value, err := client.RetrieveSecret("data/dynamic/go-key")
		var made struct {
			Data map[string]any `json:"data"`
		}
		return errors.Join(err, json.Unmarshal(value, &made), want(made.Data["access_key_id"] != nil, string(value)))
	})
	step(where+" RetrieveBatchSecrets of a dynamic variable", func() error {
		values, err := client.RetrieveBatchSecrets([]string{"data/dynamic/go-key", "go/db/user"})
		return errors.Join(err, want(json.Valid(values["acme:variable:data/dynamic/go-key"]), values))
	})
}

func changeIssuers(admin *conjurapi.Client) {
	more, less := 4000, 900
	step("UpdateIssuer", func() error {
		update := conjurapi.IssuerUpdate{MaxTTL: &more, Data: issuerKey("AKIAIOSFODNN7EXAMPL2")}
		updated, err := admin.UpdateIssuer("go-aws", update)
		changed := updated.MaxTTL == more && updated.Data["access_key_id"] == "AKIAIOSFODNN7EXAMPL2"
		return errors.Join(err, want(changed, updated))
	})
	step("UpdateIssuer to less", func() error {
		_, err := admin.UpdateIssuer("go-aws", conjurapi.IssuerUpdate{MaxTTL: &less})
		return refused("max_ttl", err)
	})
	step("DeleteIssuer that keeps its secrets", func() error {
		err := admin.DeleteIssuer("go-aws", true)
		kept, more := admin.ResourceExists("acme:variable:data/dynamic/go-key")
		return errors.Join(err, more, want(kept, kept))
	})
	step("DeleteIssuer", func() error {
		_, err := admin.CreateIssuer(issuer("go-other"))
		text := strings.NewReader("- !variable { id: go-other, annotations: { dynamic/issuer: go-other, dynamic/method: federation-token } }\n")
		_, loading := admin.LoadPolicy(conjurapi.PolicyModePost, "data/dynamic", text)
		deleting := admin.DeleteIssuer("go-other", false)
		kept, more := admin.ResourceExists("acme:variable:data/dynamic/go-other")
		return errors.Join(err, loading, deleting, more, want(!kept, kept))
	})
	step("DeleteIssuer that is not there", func() error {
		return refused("404", admin.DeleteIssuer("go-other", false))
	})
}
