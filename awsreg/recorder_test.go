package awsreg_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"mintmark/awsreg"
)

// use is a permission that a request needs: an IAM action, and the resource as
// its ARN ends, or "*" for an action that takes none.
type use struct{ action, service, resource string }

// recorder is the HTTP client of the registrars of a test. It notes what each
// request needs to be allowed.
type recorder struct {
	client aws.HTTPClient
	// before and after are called around each request if set; an error of before
	// keeps it from being sent, one of after replaces its answer.
	before, after func(sent) error

	mu    sync.Mutex
	uses  map[use]bool
	calls int
	// firstChange is the number of the first request that changes something.
	firstChange int
}

// sent is what is known of a request to a test that disturbs it.
type sent struct {
	n       int    // counted from 1
	what    string // the same for a repetition
	changes bool
}

// everyUse is what the registrars of all tests needed.
var everyUse = struct {
	sync.Mutex
	actions map[string]bool
}{actions: make(map[string]bool)}

func newRecorder() *recorder {
	return &recorder{client: awshttp.NewBuildableClient(), uses: make(map[use]bool)}
}

func (c *recorder) Do(r *http.Request) (*http.Response, error) {
	needs, body, err := usesOf(r)
	if err != nil {
		return nil, err
	}
	one := sent{what: fmt.Sprintf("%s %s %s %s", r.Method, r.URL, r.Header.Get("X-Amz-Target"), body)}
	for _, u := range needs {
		_, name, _ := strings.Cut(u.action, ":")
		one.changes = one.changes || len(mutating([]string{name})) > 0
	}
	c.mu.Lock()
	c.calls++
	if one.n = c.calls; one.changes && c.firstChange == 0 {
		c.firstChange = one.n
	}
	for _, u := range needs {
		c.uses[u] = true
	}
	c.mu.Unlock()
	everyUse.Lock()
	for _, u := range needs {
		everyUse.actions[u.action] = true
	}
	everyUse.Unlock()
	if c.before != nil {
		if err := c.before(one); err != nil {
			return nil, err
		}
	}
	response, err := c.client.Do(r)
	if err == nil && c.after != nil {
		if cut := c.after(one); cut != nil {
			response.Body.Close()
			return nil, cut
		}
	}
	return response, err
}

// routes say which permission a request of the IoT API needs. A number in the
// resource stands for that part of the path.
var routes = []struct{ method, path, action, resource string }{
	{"GET", "/registrationcode", "GetRegistrationCode", "*"},
	{"POST", "/cacertificate", "RegisterCACertificate", "*"},
	{"GET", "/cacertificates", "ListCACertificates", "*"},
	{"GET", "/cacertificate/([^/]+)", "DescribeCACertificate", "cacert/$1"},
	{"PUT", "/cacertificate/([^/]+)", "UpdateCACertificate", "cacert/$1"},
	{"DELETE", "/cacertificate/([^/]+)", "DeleteCACertificate", "cacert/$1"},
	{"GET", "/tags", "ListTagsForResource", "*"},
	{"GET", "/certificates-by-ca/([^/]+)", "ListCertificatesByCA", "*"},
	{"GET", "/certificates", "ListCertificates", "*"},
	{"POST", "/certificates", "CreateCertificateFromCsr", "*"},
	{"POST", "/certificate/register", "RegisterCertificate", "*"},
	{"POST", "/certificate/register-no-ca", "RegisterCertificateWithoutCA", "*"},
	{"GET", "/certificates/([^/]+)", "DescribeCertificate", "cert/$1"},
	{"PUT", "/certificates/([^/]+)", "UpdateCertificate", "cert/$1"},
	{"GET", "/policies/([^/]+)", "GetPolicy", "policy/$1"},
	{"POST", "/policies/([^/]+)", "CreatePolicy", "policy/$1"},
	{"POST", "/policies/([^/]+)/version", "CreatePolicyVersion", "policy/$1"},
	{"GET", "/policies/([^/]+)/version", "ListPolicyVersions", "*"},
	{"DELETE", "/policies/([^/]+)/version/[^/]+", "DeletePolicyVersion", "policy/$1"},
	{"POST", "/policy-targets/[^/]+", "ListTargetsForPolicy", "*"},
	{"POST", "/attached-policies/.+", "ListAttachedPolicies", "*"},
	{"PUT", "/target-policies/[^/]+", "AttachPolicy", "cert/0"},
	{"GET", "/rules/([^/]+)", "GetTopicRule", "rule/$1"},
	{"POST", "/rules/([^/]+)", "CreateTopicRule", "rule/$1"},
	{"PATCH", "/rules/([^/]+)", "ReplaceTopicRule", "rule/$1"},
	{"DELETE", "/rules/([^/]+)", "DeleteTopicRule", "rule/$1"},
	{"GET", "/rules", "ListTopicRules", "*"},
	{"POST", "/provisioning-templates", "CreateProvisioningTemplate", "provisioningtemplate/name"},
	{"GET", "/provisioning-templates/([^/]+)", "DescribeProvisioningTemplate", "provisioningtemplate/$1"},
	{"PATCH", "/provisioning-templates/([^/]+)", "UpdateProvisioningTemplate", "provisioningtemplate/$1"},
	{"GET", "/provisioning-templates/([^/]+)/versions", "ListProvisioningTemplateVersions", "provisioningtemplate/$1"},
	{"POST", "/provisioning-templates/([^/]+)/versions", "CreateProvisioningTemplateVersion", "provisioningtemplate/$1"},
	{"DELETE", "/provisioning-templates/([^/]+)/versions/[^/]+", "DeleteProvisioningTemplateVersion", "provisioningtemplate/$1"},
	{"GET", "/thing-types/([^/]+)", "DescribeThingType", "thingtype/$1"},
	{"POST", "/thing-types/([^/]+)", "CreateThingType", "thingtype/$1"},
	{"GET", "/thing-groups/([^/]+)", "DescribeThingGroup", "thinggroup/$1"},
	{"POST", "/thing-groups/([^/]+)", "CreateThingGroup", "thinggroup/$1"},
	{"PUT", "/thing-groups/addThingToThingGroup", "AddThingToThingGroup", "thing/0"},
	{"GET", "/certificate-providers", "ListCertificateProviders", "*"},
	{"GET", "/certificate-providers/([^/]+)", "DescribeCertificateProvider", "certificateprovider:$1"},
	{"POST", "/certificate-providers/([^/]+)", "CreateCertificateProvider", "certificateprovider:$1"},
	{"PUT", "/certificate-providers/([^/]+)", "UpdateCertificateProvider", "certificateprovider:$1"},
	{"GET", "/things/([^/]+)", "DescribeThing", "thing/$1"},
	{"POST", "/things/([^/]+)", "CreateThing", "thing/$1"},
	{"PUT", "/things/[^/]+/principals", "AttachThingPrincipal", "*"},
	{"GET", "/things/[^/]+/principals", "ListThingPrincipals", "*"},
	{"GET", "/principals/things", "ListPrincipalThings", "*"},
	{"GET", "/endpoint", "DescribeEndpoint", "*"},
}

// routePatterns are those of routes, compiled once: every request of every test is held
// against them.
var routePatterns = sync.OnceValue(func() []*regexp.Regexp {
	var list []*regexp.Regexp
	for _, route := range routes {
		list = append(list, regexp.MustCompile("^"+route.path+"$"))
	}
	return list
})

// usesOf reads a request. One that is not known is an error, so that a test which
// makes it fails.
func usesOf(r *http.Request) (uses []use, body []byte, err error) {
	if r.Body != nil {
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	uses, err = usesOfBody(r, body)
	return uses, body, err
}

func usesOfBody(r *http.Request, body []byte) ([]use, error) {
	if _, operation, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "DynamoDB_20120810."); ok {
		return tableUses(operation, body)
	}
	if strings.Contains(r.Header.Get("Authorization"), "/sts/") {
		return nil, nil // GetCallerIdentity needs no permission; AssumeRole is granted to whoever has the role assumed
	}
	for i, route := range routes {
		if r.Method != route.method {
			continue
		}
		pattern := routePatterns()[i]
		m := pattern.FindStringSubmatchIndex(r.URL.Path)
		if m == nil {
			continue
		}
		resource := string(pattern.ExpandString(nil, route.resource, r.URL.Path, m))
		switch route.action {
		case "CreateProvisioningTemplate":
			var in struct{ TemplateName string }
			if err := json.Unmarshal(body, &in); err != nil {
				return nil, err
			}
			resource = "provisioningtemplate/" + in.TemplateName
		case "AddThingToThingGroup":
			var in struct{ ThingName, ThingGroupName string }
			if err := json.Unmarshal(body, &in); err != nil {
				return nil, err
			}
			return []use{{"iot:" + route.action, "iot", "thing/" + in.ThingName}, {"iot:" + route.action, "iot", "thinggroup/" + in.ThingGroupName}}, nil
		}
		uses := []use{{"iot:" + route.action, "iot", resource}}
		if route.action == "RegisterCACertificate" && bytes.Contains(body, []byte(`"tags"`)) {
			uses = append(uses, use{"iot:TagResource", "iot", "cacert/0"})
		}
		return uses, nil
	}
	return nil, fmt.Errorf("the test does not know which permission %s %s needs", r.Method, r.URL.Path)
}

// tableUses are the permissions of a DynamoDB operation. TransactWriteItems needs
// those of its parts.
func tableUses(operation string, body []byte) ([]use, error) {
	var in struct {
		TableName     string
		RequestItems  map[string]json.RawMessage
		TransactItems []map[string]struct{ TableName string }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	one := func(action, table string) use { return use{"dynamodb:" + action, "dynamodb", "table/" + table} }
	var uses []use
	switch operation {
	case "TransactWriteItems":
		for _, item := range in.TransactItems {
			for part, what := range item {
				uses = append(uses, one(map[string]string{
					"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem",
				}[part], what.TableName))
			}
		}
	case "TransactGetItems":
		for _, item := range in.TransactItems {
			uses = append(uses, one("GetItem", item["Get"].TableName))
		}
	case "BatchWriteItem", "BatchGetItem":
		for table := range in.RequestItems {
			uses = append(uses, one(operation, table))
		}
	default:
		uses = append(uses, one(operation, in.TableName))
	}
	return uses, nil
}

// TestMain checks in the end that the printed policy of a target that has
// everything allows what the registrars of all tests have called.
func TestMain(m *testing.M) {
	// The simulators are reached without TLS, and the SDK would parse the bundle anew in
	// each of thousands of sessions.
	os.Unsetenv("AWS_CA_BUNDLE")
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		// Parallel tests mostly wait between two tries of a call, which takes no core.
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	status := m.Run()
	target := everything("http://127.0.0.1:1")
	policy, err := awsreg.IAMPolicy(target)
	if err == nil {
		err = allowsActions(policy, slices.Sorted(maps.Keys(everyUse.actions)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the printed IAM policy:", err)
		status = 1
	}
	os.Exit(status)
}
