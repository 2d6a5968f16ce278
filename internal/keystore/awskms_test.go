package keystore

import (
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// Keys in AWS KMS, as its documentation describes it, by the real SDK; and the AWS CLI
// sees the same.
func TestAWSKMS(t *testing.T) {
	d := newAWSDouble(t)
	s := open(t, Config{})
	algs := map[string]string{"P-256": "ECDSA_SHA_256", "P-384": "ECDSA_SHA_384", "RSA-2048": "RSASSA_PKCS1_V1_5_SHA_256"}
	made := make(map[string]crypto.Signer)
	uris := make(map[string]string)
	for alg, cliAlg := range algs {
		uri, signer, err := s.Create(background, "awskms:name=factory/"+alg+";region="+awsRegion, alg)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(uri, "awskms:key-id=arn:aws:kms:"+awsRegion+":111122223333:key/") || kindOf(signer.Public()) != alg {
			t.Errorf("%s is a %s", uri, kindOf(signer.Public()))
		}
		opened, err := s.Signer(background, uri, signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		if err := testSign(opened); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		made[alg], uris[alg] = opened, uri
		if alg != "P-256" && os.Getenv("MINTMARK_LONG") == "" {
			continue // the CLI takes a second each time
		}

		public, err := base64.StdEncoding.DecodeString(d.cli("get-public-key", "--key-id", "alias/factory/"+alg, "--query", "PublicKey"))
		if err != nil {
			t.Fatal(err)
		}
		key, err := x509.ParsePKIXPublicKey(public)
		if err != nil || checkPublic(key, signer.Public()) != nil {
			t.Errorf("%s: the CLI has another public key, %v", alg, err)
		}
		d.mu.Lock()
		if usage := d.keys[d.aliases["alias/factory/"+alg]].usage; usage != "SIGN_VERIFY" {
			t.Errorf("%s: the usage of the key is %s", alg, usage)
		}
		d.mu.Unlock()
		message := []byte("signed by the CLI")
		sum := sha256.Sum256(message)
		digest, sigAlg := sum[:], x509.ECDSAWithSHA256
		switch alg {
		case "P-384":
			sum := sha512.Sum384(message)
			digest, sigAlg = sum[:], x509.ECDSAWithSHA384
		case "RSA-2048":
			sigAlg = x509.SHA256WithRSA
		}
		file := filepath.Join(t.TempDir(), "digest")
		if err := os.WriteFile(file, digest, 0o600); err != nil {
			t.Fatal(err)
		}
		signature, err := base64.StdEncoding.DecodeString(d.cli("sign", "--key-id", "alias/factory/"+alg, "--message", "fileb://"+file,
			"--message-type", "DIGEST", "--signing-algorithm", cliAlg, "--query", "Signature"))
		if err != nil {
			t.Fatal(err)
		}
		if err := (&x509.Certificate{PublicKey: signer.Public()}).CheckSignature(sigAlg, message, signature); err != nil {
			t.Errorf("%s: what the CLI signed: %v", alg, err)
		}
	}

	// Never a second key of the name, nor one that is left over.
	if _, _, err := s.Create(background, "awskms:name=factory/P-256;region="+awsRegion, "P-256"); !errors.Is(err, ErrExists) || len(d.keys) != 3 {
		t.Errorf("making it again: %v; %d keys", err, len(d.keys))
	}
	if _, err := s.Signer(background, uris["P-256"], made["P-384"].Public()); !errors.Is(err, ErrMismatch) {
		t.Errorf("another key than the wanted one: %v", err)
	}
	if _, err := s.Signer(background, "awskms:key-id=alias/none;region="+awsRegion, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("an alias that is not there: %v", err)
	}

	// An alias leads to a key when the key is opened, and not later.
	byAlias, err := s.Signer(background, "awskms:key-id=alias/factory/P-256;region="+awsRegion, made["P-256"].Public())
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.aliases["alias/factory/P-256"] = d.aliases["alias/factory/P-384"]
	d.mu.Unlock()
	if err := testSign(byAlias); err != nil {
		t.Errorf("after the alias was moved: %v", err)
	}

	var wait interface{ RetryAfter() time.Duration }
	err = s.Destroy(background, uris["P-256"], made["P-256"].Public())
	if err == nil || !strings.Contains(err.Error(), "schedule-key-deletion") || errors.As(err, &wait) {
		t.Errorf("destroying: %v", err)
	}
}

// Two make a key of the same name at the same time: one has it, the other gives its
// own up.
func TestAWSKMSRace(t *testing.T) {
	d := newAWSDouble(t)
	s := open(t, Config{})
	uri := "awskms:name=issuing;region=" + awsRegion
	if _, _, err := s.Create(background, uri, "P-256"); err != nil {
		t.Fatal(err)
	}
	d.fault = func(operation string) (string, string) {
		if operation == "DescribeKey" {
			return "NotFoundException", "not yet"
		}
		return "", ""
	}
	if _, _, err := s.Create(background, uri, "P-256"); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	states := make(map[string]int)
	for _, key := range d.keys {
		states[key.state]++
	}
	if states["Enabled"] != 1 || states["PendingDeletion"] != 1 {
		t.Errorf("the keys are %v", states)
	}
}

func TestAWSKMSFaults(t *testing.T) {
	d := newAWSDouble(t)
	s := open(t, Config{})
	// Credentials from a file of their own.
	id, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	os.Unsetenv("AWS_ACCESS_KEY_ID")
	file := pkitest.WriteFile(t, "credentials", []byte("[default]\naws_access_key_id = "+id+"\naws_secret_access_key = "+secret+"\n"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	uri, signer, err := s.Create(background, "awskms:name=issuing;region="+awsRegion, "P-256")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file+".none")
	if _, err := s.Signer(background, "awskms:key-id=alias/issuing;region="+awsRegion, nil); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("without credentials: %v", err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	faulty := func(f func(string) (string, string)) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.fault, d.calls = f, nil
	}

	// A throttled call is repeated by the SDK.
	times := 0
	faulty(func(string) (string, string) {
		if times++; times == 1 {
			return "ThrottlingException", "Rate exceeded"
		}
		return "", ""
	})
	if err := testSign(signer); err != nil || len(d.calls) != 2 {
		t.Errorf("throttled once: %v; %v", err, d.calls)
	}

	// What is refused is not asked again, and is said in words, for the operator.
	faulty(func(string) (string, string) {
		return "AccessDeniedException", "User is not authorized to perform: kms:Sign"
	})
	var wait interface{ RetryAfter() time.Duration }
	if err := testSign(signer); err == nil || !strings.Contains(err.Error(), "AccessDeniedException: User is not authorized") ||
		strings.Contains(err.Error(), "RequestID") || !errors.As(err, &wait) || len(d.calls) != 1 {
		t.Errorf("refused: %v; %v", err, d.calls)
	}
	if _, err := s.Signer(background, uri, nil); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "not authorized") {
		t.Errorf("opening without permission: %v", err)
	}
	faulty(nil)

	// A key for other purposes.
	for _, key := range d.keys {
		key.usage = "KEY_AGREEMENT"
	}
	if _, err := s.Signer(background, uri, nil); err == nil || !strings.Contains(err.Error(), "not for signatures") {
		t.Errorf("a key that is not for signatures: %v", err)
	}
	for _, key := range d.keys {
		key.usage, key.state = "SIGN_VERIFY", "PendingDeletion"
	}
	if _, err := s.Signer(background, uri, nil); err == nil || !strings.Contains(err.Error(), "PendingDeletion") {
		t.Errorf("a key that is being deleted: %v", err)
	}
	if _, err := s.Signer(background, "awskms:key-id=alias/issuing", nil); err == nil || !strings.Contains(err.Error(), "no AWS region") {
		t.Errorf("without a region: %v", err)
	}
	if _, _, err := s.Create(background, "awskms:name=x;region="+awsRegion, "Ed25519"); err == nil || !strings.Contains(err.Error(), "unknown key algorithm") {
		t.Errorf("an unknown kind of key: %v", err)
	}
}

// A key URI comes to a server over the API, and what the files are told that it names is the
// SDK's to read: credential_process is a command.
func TestAWSKMSRunsNothing(t *testing.T) {
	newAWSDouble(t)
	flag := filepath.Join(t.TempDir(), "flag")
	file := pkitest.WriteFile(t, "credentials", []byte("[default]\ncredential_process = /usr/bin/touch "+flag+"\n[x]\ncredential_process = /usr/bin/touch "+flag+"\n"))
	s := open(t, Config{})
	for _, tt := range []struct{ key, more, want string }{
		{"key-id", "credentials-file=" + file, "credentials-file"},
		{"key-id", "profile=x", "profile"},
		{"name", "credentials-file=" + file, "credentials-file"},
		{"name", "region=eu-central-1?credentials-file=" + file, "credentials-file"},
	} {
		uri := "awskms:" + tt.key + "=x;region=" + awsRegion + ";" + tt.more
		var err error
		if tt.key == "name" {
			_, _, err = s.Create(background, uri, "P-256")
		} else {
			_, err = s.Signer(background, uri, nil)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.As(err, new(*UnavailableError)) {
			t.Errorf("%s: %v, want %q", uri, err, tt.want)
		}
	}
	if _, err := os.Stat(flag); !os.IsNotExist(err) {
		t.Errorf("a URI ran a command: %v", err)
	}
}
