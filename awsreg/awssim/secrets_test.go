package awssim

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// lockedBuffer is a buffer that loggers may write to at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestSecrets(t *testing.T) {
	log := &lockedBuffer{}
	s := startSim(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	client := func(a Account) *secretsmanager.Client {
		return secretsmanager.New(secretsmanager.Options{
			Region: region, BaseEndpoint: aws.String(s.ControlURL()), Retryer: aws.NopRetryer{},
			Credentials: credentials.NewStaticCredentialsProvider(a.AccessKeyID, a.SecretAccessKey, ""),
		})
	}
	c := client(first)
	made, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("mintmark/ra"), Description: aws.String("d"), SecretString: aws.String("hidden-1")})
	if err != nil || !strings.HasPrefix(*made.ARN, "arn:aws:secretsmanager:eu-central-1:111122223333:secret:mintmark/ra-") || made.VersionId == nil {
		t.Fatalf("created: %+v %v", made, err)
	}
	_, err = c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("mintmark/ra"), SecretString: aws.String("hidden-x")})
	wantCode(t, err, "ResourceExistsException")
	token := strings.Repeat("t", 32)
	put := func(token string, value string) error {
		_, err := c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("mintmark/ra"), ClientRequestToken: &token, SecretBinary: []byte(value)})
		return err
	}
	wantCode(t, put(token, "hidden-2"), "")
	wantCode(t, put(token, "hidden-2"), "")
	wantCode(t, put(token, "hidden-3"), "ResourceExistsException")
	wantCode(t, put("short", "hidden-3"), "InvalidParameterException")
	wantCode(t, put(token, strings.Repeat("x", maxSecretValue+1)), "InvalidParameterException")
	get := func(id, version, stage string) (*secretsmanager.GetSecretValueOutput, error) {
		in := &secretsmanager.GetSecretValueInput{SecretId: &id}
		if version != "" {
			in.VersionId = &version
		}
		if stage != "" {
			in.VersionStage = &stage
		}
		return c.GetSecretValue(ctx, in)
	}
	for _, id := range []string{"mintmark/ra", *made.ARN, "arn:aws:secretsmanager:eu-central-1:111122223333:secret:mintmark/ra"} {
		if out, err := get(id, "", ""); err != nil || string(out.SecretBinary) != "hidden-2" || out.SecretString != nil || out.VersionStages[0] != "AWSCURRENT" {
			t.Errorf("current value by %s: %+v %v", id, out, err)
		}
	}
	if out, err := get("mintmark/ra", "", "AWSPREVIOUS"); err != nil || *out.SecretString != "hidden-1" || *out.VersionId != *made.VersionId {
		t.Errorf("previous value: %+v %v", out, err)
	}
	if out, err := get("mintmark/ra", *made.VersionId, ""); err != nil || *out.SecretString != "hidden-1" {
		t.Errorf("value by version: %+v %v", out, err)
	}
	for _, id := range []string{"nothing", "arn:aws:secretsmanager:eu-central-1:444455556666:secret:mintmark/ra", ""} {
		if _, err := get(id, "", ""); err == nil {
			t.Errorf("read %q", id)
		}
	}
	_, err = get("mintmark/ra", "", "AWSPENDING")
	wantCode(t, err, "ResourceNotFoundException")
	_, err = client(second).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("mintmark/ra")})
	wantCode(t, err, "ResourceNotFoundException")
	d, err := c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String("mintmark/ra")})
	if err != nil || *d.Description != "d" || len(d.VersionIdsToStages) != 2 || d.CreatedDate == nil {
		t.Errorf("described: %+v %v", d, err)
	}
	if out := mustCLI(t, s, "secretsmanager", "get-secret-value", "--secret-id", "mintmark/ra", "--version-stage", "AWSPREVIOUS", "--query", "SecretString"); out != "hidden-1" {
		t.Errorf("by the command: %q", out)
	}
	_, err = c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("mintmark/ra")})
	wantCode(t, err, "InvalidRequestException")
	_, err = c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("mintmark/ra"), SecretString: aws.String("hidden-4"), SecretBinary: []byte("hidden-4")})
	wantCode(t, err, "InvalidParameterException")
	_, err = c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("k"), KmsKeyId: aws.String("hidden-5"), SecretString: aws.String("hidden-5")})
	wantCode(t, err, "SimulatorNotImplemented")
	_, err = c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("bad name"), SecretString: aws.String("hidden-6")})
	wantCode(t, err, "InvalidParameterException")
	_, err = c.RotateSecret(ctx, &secretsmanager.RotateSecretInput{SecretId: aws.String("mintmark/ra")})
	wantCode(t, err, "SimulatorNotImplemented")
	_, err = c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String("mintmark/ra")})
	wantCode(t, err, "SimulatorNotImplemented")

	// No value is in the log, the events or the state.
	seen := log.String()
	for _, path := range []string{"/_sim/events", "/_sim/state?account=" + first.ID + "&region=" + region} {
		resp, err := http.Get(s.ControlURL() + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		seen += string(b)
	}
	if !strings.Contains(seen, "secretsmanager:CreateSecret") || strings.Contains(seen, "hidden-") {
		t.Errorf("a secret, or nothing at all, in the log, the events or the state")
	}
	_, err = c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String("mintmark/ra"), ForceDeleteWithoutRecovery: aws.Bool(true)})
	wantCode(t, err, "")
	_, err = get("mintmark/ra", "", "")
	wantCode(t, err, "ResourceNotFoundException")
	// Versions are bounded; the current one and the one before stay.
	many := &secret{}
	for n := range 2 * maxSecretVersions {
		if _, err := many.add(secretValue{Text: aws.String(strings.Repeat("v", n))}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	last := many.versions[len(many.versions)-2:]
	if len(many.versions) != maxSecretVersions || last[0].stages[0] != "AWSPREVIOUS" || last[1].stages[0] != "AWSCURRENT" {
		t.Errorf("%d versions, the last %+v", len(many.versions), last)
	}
}
