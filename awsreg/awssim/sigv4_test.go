package awssim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// TestSignatures signs with the SDK's own signer and then spoils one thing.
func TestSignatures(t *testing.T) {
	s := startSim(t)
	type request struct {
		method, path, body string
		key, secret, token string
		service            string
		at                 time.Time
		spoil              func(*http.Request)
	}
	send := func(r request) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(r.method, s.ControlURL()+r.path, bytes.NewReader([]byte(r.body)))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(r.body))
		creds := aws.Credentials{AccessKeyID: r.key, SecretAccessKey: r.secret, SessionToken: r.token}
		if err := v4.NewSigner().SignHTTP(context.Background(), creds, req, hex.EncodeToString(sum[:]), r.service, region, r.at); err != nil {
			t.Fatal(err)
		}
		if r.spoil != nil {
			r.spoil(req)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp, readAll(t, resp.Body)
	}
	tests := []struct {
		name   string
		change func(*request)
		want   string // error code, empty for success
	}{
		{"good", func(*request) {}, ""},
		{"session token that nobody gave", func(r *request) { r.token = "token" }, "InvalidClientTokenId"},
		{"good as execute-api", func(r *request) { r.service = "execute-api" }, ""},
		{"good with odd query", func(r *request) { r.path = "/cacertificates?pageSize=7&marker=" }, ""},
		{"good 14 minutes late", func(r *request) { r.at = r.at.Add(-14 * time.Minute) }, ""},
		{"wrong secret", func(r *request) { r.secret = "guess" }, "SignatureDoesNotMatch"},
		{"unknown key", func(r *request) { r.key = "AKIAUNKNOWN" }, "InvalidClientTokenId"},
		{"secret of the other account", func(r *request) { r.secret = second.SecretAccessKey }, "SignatureDoesNotMatch"},
		{"16 minutes late", func(r *request) { r.at = r.at.Add(-16 * time.Minute) }, "SignatureDoesNotMatch"},
		{"16 minutes early", func(r *request) { r.at = r.at.Add(16 * time.Minute) }, "SignatureDoesNotMatch"},
		{"no signature", func(r *request) { r.spoil = func(q *http.Request) { q.Header.Del("Authorization") } }, "MissingAuthenticationToken"},
		{"half a signature", func(r *request) {
			r.spoil = func(q *http.Request) { q.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x") }
		}, "IncompleteSignature"},
		{"another query", func(r *request) { r.spoil = func(q *http.Request) { q.URL.RawQuery = "pageSize=9" } }, "SignatureDoesNotMatch"},
		{"another path", func(r *request) { r.spoil = func(q *http.Request) { q.URL.Path = "/policies" } }, "SignatureDoesNotMatch"},
		{"another method", func(r *request) { r.spoil = func(q *http.Request) { q.Method = "DELETE" } }, "SignatureDoesNotMatch"},
		{"token added later", func(r *request) { r.spoil = func(q *http.Request) { q.Header.Set("X-Amz-Security-Token", "x") } }, "InvalidClientTokenId"},
		{"header added later", func(r *request) { r.spoil = func(q *http.Request) { q.Header.Set("X-Amz-Acl", "x") } }, "SignatureDoesNotMatch"},
		{"another body", func(r *request) {
			r.method, r.path, r.body = "POST", "/tags", "{}"
			r.spoil = func(q *http.Request) { q.Body = http.NoBody; q.ContentLength = 0; q.GetBody = nil }
		}, "SignatureDoesNotMatch"},
		{"hash of another body", func(r *request) {
			r.spoil = func(q *http.Request) { q.Header.Set("X-Amz-Content-Sha256", strings.Repeat("0", 64)) }
		}, "SignatureDoesNotMatch"},
		{"unknown service", func(r *request) { r.service = "sqs" }, "SimulatorNotImplemented"},
		{"unknown operation", func(r *request) { r.path = "/jobs" }, "SimulatorNotImplemented"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request{method: "GET", path: "/cacertificates", key: first.AccessKeyID, secret: first.SecretAccessKey, service: "iot", at: time.Now()}
			tt.change(&r)
			resp, body := send(r)
			if got := resp.Header.Get("x-amzn-ErrorType"); got != tt.want {
				t.Errorf("status %d, error %q, want %q: %s", resp.StatusCode, got, tt.want, body)
			}
			if strings.HasPrefix(tt.want, "S") && tt.want != "SimulatorNotImplemented" && resp.StatusCode != http.StatusForbidden {
				t.Errorf("status %d", resp.StatusCode)
			}
		})
	}
	// The other protocols report it in their own way.
	for service, want := range map[string]string{"dynamodb": "UnrecognizedClientException", "sts": "<Code>InvalidClientTokenId</Code>"} {
		req, _ := http.NewRequest("POST", s.ControlURL()+"/", strings.NewReader("{}"))
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=K/20260101/x/"+service+"/aws4_request, SignedHeaders=host;x-amz-date, Signature=00")
		if service == "dynamodb" {
			req.Header.Set("X-Amz-Target", "DynamoDB_20120810.Scan")
		} else {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if body := readAll(t, resp.Body); !strings.Contains(body, want) {
			t.Errorf("%s: %s", service, body)
		}
		resp.Body.Close()
	}
	if calls := s.Calls(); len(calls) != 4 {
		t.Errorf("calls: %v, want the four good ones", calls)
	}
}

func TestBodyLimit(t *testing.T) {
	s := startSim(t)
	resp, err := http.Post(s.ControlURL()+"/tags", "application/json", bytes.NewReader(make([]byte, maxBody+1)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}
