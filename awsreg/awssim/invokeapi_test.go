package awssim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// lambdaDo sends one request to the Lambda service.
func lambdaDo(t *testing.T, s *Sim, method, path, body string, header map[string]string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, s.ControlURL()+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	sum := sha256.Sum256([]byte(body))
	err = v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: first.AccessKeyID, SecretAccessKey: first.SecretAccessKey}, r, hex.EncodeToString(sum[:]), "lambda", region, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp, readAll(t, resp.Body)
}

func TestInvoke(t *testing.T) {
	s := startSim(t, withFleetFunction(t))
	dir := t.TempDir()
	out := filepath.Join(dir, "out.json")
	text := mustCLI(t, s, "lambda", "invoke", "--function-name", "fleet", "--cli-binary-format", "raw-in-base64-out", "--payload", `{"parameters":{"mode":"raw","raw":"{\"n\":1}"}}`, out)
	if b, err := os.ReadFile(out); err != nil || string(b) != `{"n":1}` || !strings.Contains(text, "200") {
		t.Errorf("aws lambda invoke: %q %v (%s)", b, err, text)
	}
	const path = "/2015-03-31/functions/fleet/invocations"
	for _, tt := range []struct {
		name, path, body string
		header           map[string]string
		status           int
		failed           string // X-Amz-Function-Error
		want             string
	}{
		{"by ARN", strings.Replace(path, "fleet", "arn:aws:lambda:eu-central-1:111122223333:function:fleet", 1), `{"parameters":{"mode":"raw","raw":"7"}}`, nil, 200, "", "7"},
		{"an error of the function", path, `{"parameters":{"mode":"error"}}`, nil, 200, "Unhandled", "out of order"},
		{"an exit", path, `{"parameters":{"mode":"exit"}}`, nil, 200, "Unhandled", "Runtime.ExitError"},
		{"a dry run", path, `{}`, map[string]string{"X-Amz-Invocation-Type": "DryRun"}, 204, "", ""},
		{"no JSON", path, `{`, nil, 400, "", "Could not parse"},
		{"an unknown type", path, `{}`, map[string]string{"X-Amz-Invocation-Type": "Perhaps"}, 400, "", "Unsupported invocation type"},
		{"too large an event", path, `"` + strings.Repeat("x", maxEventPayload) + `"`, map[string]string{"X-Amz-Invocation-Type": "Event"}, 413, "", "Request must be smaller"},
		{"too large a request", path, `"` + strings.Repeat("x", maxInvokePayload) + `"`, nil, 413, "", "Request must be smaller"},
		{"a log", path, `{}`, map[string]string{"X-Amz-Log-Type": "Tail"}, 501, "", "does not have"},
		{"a version", path + "?Qualifier=7", `{}`, nil, 501, "", "does not have"},
		{"no function", strings.Replace(path, "fleet", "nothing", 1), `{}`, nil, 404, "", "Function not found"},
		{"another account's", strings.Replace(path, "fleet", "arn:aws:lambda:eu-central-1:444455556666:function:fleet", 1), `{}`, nil, 404, "", "Function not found"},
		{"another operation", "/2015-03-31/functions/fleet/aliases", `{}`, nil, 501, "", "does not have"},
	} {
		resp, body := lambdaDo(t, s, "POST", tt.path, tt.body, tt.header)
		if resp.StatusCode != tt.status || resp.Header.Get("X-Amz-Function-Error") != tt.failed || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %q %s, want %d %q %s", tt.name, resp.StatusCode, resp.Header.Get("X-Amz-Function-Error"), clip(body, 200), tt.status, tt.failed, tt.want)
		}
	}
	before := len(eventsOf(t, s, "lambda.succeeded"))
	if resp, _ := lambdaDo(t, s, "POST", path, `{"parameters":{"mode":"raw","raw":"8"}}`, map[string]string{"X-Amz-Invocation-Type": "Event"}); resp.StatusCode != 202 {
		t.Errorf("an event: %d", resp.StatusCode)
	}
	wait(t, "the event", func() bool { return len(eventsOf(t, s, "lambda.succeeded")) > before })
	resp, body := lambdaDo(t, s, "GET", "/2015-03-31/functions/fleet/configuration", "", nil)
	if resp.StatusCode != 200 || !strings.Contains(body, `"FunctionArn":"arn:aws:lambda:eu-central-1:111122223333:function:fleet"`) || strings.Contains(body, "Environment") {
		t.Errorf("configuration: %d %s", resp.StatusCode, body)
	}
	if resp, body := lambdaDo(t, s, "GET", "/2015-03-31/functions/", "", nil); resp.StatusCode != 200 || !strings.Contains(body, `"FunctionName":"fleet"`) {
		t.Errorf("functions: %d %s", resp.StatusCode, body)
	}
}
