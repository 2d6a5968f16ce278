package awsreg_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"mintmark/awsreg"
)

type iamPolicy struct {
	Statement []struct {
		Effect           string
		Action, Resource []string
		Condition        map[string]map[string]any
	}
}

func parsePolicy(body string) (iamPolicy, error) {
	var doc iamPolicy
	err := json.Unmarshal([]byte(body), &doc)
	return doc, err
}

// allows reports whether a statement allows an action on a resource.
func (p iamPolicy) allows(action, arn string) bool {
	for _, s := range p.Statement {
		if s.Effect != "Allow" || !slices.Contains(s.Action, action) {
			continue
		}
		for _, pattern := range s.Resource {
			// An ARN's last part has no slashes here but the first.
			if ok, _ := path.Match(pattern, arn); ok {
				return true
			}
		}
	}
	return false
}

func allowsActions(body string, actions []string) error {
	doc, err := parsePolicy(body)
	if err != nil {
		return err
	}
	var errs []error
	for _, action := range actions {
		if !slices.ContainsFunc(doc.Statement, func(s struct {
			Effect           string
			Action, Resource []string
			Condition        map[string]map[string]any
		}) bool {
			return slices.Contains(s.Action, action)
		}) {
			errs = append(errs, fmt.Errorf("%s is called and not allowed", action))
		}
	}
	return errors.Join(errs...)
}

// What a whole life of a target calls is allowed, on the resources that it is
// called on; and every action that the policy names exists.
func TestIAMPolicyIsEnough(t *testing.T) {
	for name, change := range map[string]func(*awsreg.Target){
		"everything": func(*awsreg.Target) {},
		"one fleet":  func(t *awsreg.Target) { t.CAs, t.JITR, t.Provider, t.Fleets = nil, nil, nil, t.Fleets[:1] },
		"stack":      func(t *awsreg.Target) { t.StackOwned = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, target := newFullWorld(t)
			before := target
			before.CAs = slices.Clone(target.CAs)
			for i := range before.CAs {
				before.CAs[i].State, before.CAs[i].Sweep = "", ""
			}
			change(&before)
			must(w.registrar(first).Apply(t.Context(), before, nil))(t)
			change(&target)
			w.http.uses = make(map[use]bool)
			r := w.registrar(first)
			must(r.Apply(t.Context(), target, nil))(t)
			must(r.Status(t.Context(), target, true))(t)
			must(r.DataEndpoint(t.Context(), target))(t)
			for i := range target.Fleets { // so that versions and updates are made, too
				target.Fleets[i].Attributes = map[string]string{"line": "8"}
				target.Fleets[i].RoleARN = roleARN("mintmark-fleet-2")
			}
			must(r.Apply(t.Context(), target, nil))(t)

			doc := must(parsePolicy(must(awsreg.IAMPolicy(target))(t)))(t)
			if len(w.http.uses) < 10 {
				t.Fatalf("only %d permissions were needed", len(w.http.uses))
			}
			for u := range w.http.uses {
				arn := u.resource
				if arn != "*" {
					arn = fmt.Sprintf("arn:aws:%s:%s:%s:%s", u.service, region, first.ID, u.resource)
				}
				if !doc.allows(u.action, arn) {
					t.Errorf("%s on %s is called and not allowed", u.action, arn)
				}
			}
		})
	}
}

// Every action exists: the SDK has an operation of its name. A statement is for
// "*" only if its actions take no resource, and no action has a wildcard.
func TestIAMPolicyActions(t *testing.T) {
	// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsiot.html
	withoutResource := []string{
		"iot:GetRegistrationCode", "iot:RegisterCACertificate", "iot:ListCACertificates", "iot:ListCertificatesByCA", "iot:ListCertificates",
		"iot:RegisterCertificate", "iot:RegisterCertificateWithoutCA", "iot:CreateCertificateFromCsr", "iot:AttachThingPrincipal",
		"iot:ListThingPrincipals", "iot:ListTagsForResource", "iot:ListPolicyVersions", "iot:ListTargetsForPolicy", "iot:ListAttachedPolicies",
		"iot:ListTopicRules", "iot:ListCertificateProviders", "iot:DescribeEndpoint",
	}
	clients := map[string]reflect.Type{"iot": reflect.TypeFor[*iot.Client](), "dynamodb": reflect.TypeFor[*dynamodb.Client]()}
	doc := must(parsePolicy(must(awsreg.IAMPolicy(everything("http://127.0.0.1:1")))(t)))(t)
	passed := false
	for _, s := range doc.Statement {
		for _, action := range s.Action {
			service, name, _ := strings.Cut(action, ":")
			switch {
			case action == "iam:PassRole":
				passed = true
				if s.Condition["StringEquals"]["iam:PassedToService"] != "iot.amazonaws.com" || slices.Contains(s.Resource, "*") {
					t.Errorf("roles may be passed to anybody: %+v", s)
				}
				continue
			case clients[service] == nil:
				t.Errorf("%s is of no service that is called", action)
			default:
				if _, ok := clients[service].MethodByName(name); !ok {
					t.Errorf("there is no operation %s", action)
				}
			}
			if all := slices.Contains(s.Resource, "*"); all != slices.Contains(withoutResource, action) {
				t.Errorf("%s is allowed on %v", action, s.Resource)
			}
		}
	}
	if !passed {
		t.Error("the provisioning roles cannot be passed")
	}
}

// A target has no right that it does not use, and a wildcard in a name gives no
// policy.
func TestIAMPolicyIsLittle(t *testing.T) {
	target := everything("http://127.0.0.1:1")
	target.JITR, target.Fleets, target.Provider, target.Rotation = nil, nil, nil, nil
	target.CAs = []awsreg.CA{{Issuer: "line", Mode: awsreg.ModeSNIOnly, Use: awsreg.UseNone}}
	body := must(awsreg.IAMPolicy(target))(t)
	for _, not := range []string{"dynamodb:", "PassRole", "GetRegistrationCode", "DeleteCACertificate", "RegisterCertificate", "AttachPolicy", "Rule", "Template", "Provider", "CreateThing", "policy/"} {
		if strings.Contains(body, not) {
			t.Errorf("it has %s:\n%s", not, body)
		}
	}
	// What is there for the functions is not for the server.
	all := must(awsreg.IAMPolicy(everything("http://127.0.0.1:1")))(t)
	for _, not := range []string{"Scan", "DeleteItem", "ConditionCheckItem", "TransactWriteItems"} {
		if strings.Contains(all, not) {
			t.Errorf("the server may %s, and never does", not)
		}
	}
	// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsiot.html
	if want := fmt.Sprintf("arn:aws:iot:%s:%s:certificateprovider:mintmark", region, first.ID); !strings.Contains(all, want) {
		t.Errorf("it has no %s:\n%s", want, all)
	}
	stack := everything("http://127.0.0.1:1")
	stack.StackOwned = true
	for _, not := range []string{"CreatePolicy", "CreateTopicRule", "DeleteTopicRule", "CreateProvisioningTemplate", "CreateThingGroup", "CreateThingType"} {
		if strings.Contains(must(awsreg.IAMPolicy(stack))(t), not) {
			t.Errorf("the stack owns it, and the server may %s", not)
		}
	}
	for name, change := range map[string]func(*awsreg.Target){
		"table":    func(t *awsreg.Target) { t.Manifest.Table = "*" },
		"rule":     func(t *awsreg.Target) { t.JITR.Rule = "*" },
		"role":     func(t *awsreg.Target) { t.Fleets[0].RoleARN = roleARN("*") },
		"template": func(t *awsreg.Target) { t.Fleets[0].Template = "*" },
		"provider": func(t *awsreg.Target) { t.Provider.Name = "*" },
	} {
		target := everything("http://127.0.0.1:1")
		change(&target)
		if body, err := awsreg.IAMPolicy(target); err == nil {
			t.Errorf("%s: a policy all the same:\n%s", name, body)
		}
	}
}
