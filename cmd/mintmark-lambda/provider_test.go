package main

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"mintmark/awsreg/hook"
)

// factory is a mintmark server with a label for a registration authority.
type factory struct {
	t       testing.TB
	binary  string
	dir     string
	address string
	root    string // PEM
	ra      string // key and certificate of the registration authority, PEM
}

func startFactory(t *testing.T) *factory {
	t.Helper()
	binary, err := buildServer()
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	f := &factory{t: t, binary: binary, dir: filepath.Join(work, "factory")}
	f.run("init", "--dir", f.dir, "--organization", "Example Works", "--name", "localhost", "--name", "127.0.0.1")
	config := filepath.Join(f.dir, "mintmark.yaml")
	text := strings.Replace(f.read(config), "\nprofiles:\n", "\nprofiles:\n  lambda:\n    preset: registration-authority\n", 1) + `
  - name: aws
    profile: device
    issuer: issuing
    authorize: trusted
    registration_authorities: [lambda]
`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	key, certificate := filepath.Join(work, "ra.key"), filepath.Join(work, "ra.pem")
	f.run("issue", "--dir", f.dir, "--profile", "lambda", "--issuer", "issuing", "--name", "certificate provider", "--out-key", key, "--out", certificate)
	f.ra, f.root = f.read(key)+f.read(certificate), f.read(filepath.Join(f.dir, "root.pem"))
	f.serve()
	return f
}

func (f *factory) run(args ...string) {
	f.t.Helper()
	if out, err := exec.Command(f.binary, args...).CombinedOutput(); err != nil {
		f.t.Fatalf("mintmark %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (f *factory) read(path string) string {
	f.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(data)
}

func (f *factory) serve() {
	f.t.Helper()
	cmd := exec.Command(f.binary, "serve", "--dir", f.dir, "--listen", "127.0.0.1:0")
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "est listening on "); ok {
			f.address = address
			go func() {
				for lines.Scan() {
				}
			}()
			return
		}
	}
	cmd.Wait()
	f.t.Fatalf("the server did not start:\n%s", log.String())
}

// The whole way: claim, function, Secrets Manager, EST of a server of ours, and a
// certificate that AWS would take.
func TestProviderFunction(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs a server")
	}
	w, ca := newWorld(t), startFactory(t)
	w.fleet()
	if _, err := w.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("mintmark/ra"), SecretString: aws.String(ca.ra)}); err != nil {
		t.Fatal(err)
	}
	env := func(more ...string) []string {
		return w.env(append([]string{"MINTMARK_EST_URL=https://" + ca.address, "MINTMARK_EST_LABEL=aws", "MINTMARK_EST_CA=" + ca.root, "MINTMARK_SECRET=mintmark/ra"}, more...)...)
	}
	f := start(t, "certificate-provider", env()...)
	csr := newRequest(t, "SN-001")
	event := hook.ProviderEvent{CertificateSigningRequest: csr, PrincipalID: claimID, ClientID: "c"}
	for name, payload := range malformed(t, event) {
		if answer, err := f.invoke(payload, long); err == nil {
			t.Errorf("%s: %s", name, answer)
		}
	}
	stranger := event
	stranger.PrincipalID = idOf(99)
	long := event
	long.CertificateSigningRequest += strings.Repeat("\n", 4096)
	f.fails(marshal(t, stranger), "unknown-claim")
	f.fails(marshal(t, long), "more than 4096")
	issued(t, f, event)
	f.fails(marshal(t, stranger), "unknown-claim") // warm, after a leave
	other := event
	other.CertificateSigningRequest = newRequest(t, "SN-999")
	f.fails(marshal(t, other), "wrong-device")

	// A replaced key counts at once, one that is no key says nothing of itself.
	if _, err := w.secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("mintmark/ra"), SecretString: aws.String("half a secret")}); err != nil {
		t.Fatal(err)
	}
	f.fails(marshal(t, event), "does not hold a certificate and its key")
	if strings.Contains(f.out.String(), "half a secret") {
		t.Error("the log holds the secret")
	}
	if _, err := w.secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("mintmark/ra"), SecretString: aws.String(ca.ra)}); err != nil {
		t.Fatal(err)
	}
	issued(t, f, event)

	// A server that another root vouches for is not asked; a label that is not the
	// registration authority's refuses.
	f = start(t, "certificate-provider", env("MINTMARK_EST_CA="+newCA(t))...)
	f.fails(marshal(t, event), "having the request signed")
	f = start(t, "certificate-provider", env("MINTMARK_EST_LABEL=default")...)
	f.fails(marshal(t, event), "having the request signed")
}

// issued wants a certificate for the request.
func issued(t *testing.T, f *function, event hook.ProviderEvent) {
	t.Helper()
	text, err := f.invoke(marshal(t, event), long)
	if err != nil {
		t.Fatalf("%v\n%s", err, f.out)
	}
	var answer hook.ProviderAnswer
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(answer.CertificatePEM))
	if block == nil {
		t.Fatalf("answer %s", text)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	request, _ := pem.Decode([]byte(event.CertificateSigningRequest))
	csr, err := x509.ParseCertificateRequest(request.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.RawSubjectPublicKeyInfo, csr.RawSubjectPublicKeyInfo) || c.Subject.String() != csr.Subject.String() {
		t.Errorf("certificate of %s", c.Subject)
	}
}
