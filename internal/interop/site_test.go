package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// site is a running server with labels for every operation.
type site struct {
	binary  string
	dir     string // state directory
	address string // host:port of EST
	root    string // file with the trust anchor
	issuing *x509.Certificate
	user    string
	secret  string
	mu      sync.Mutex
	names   int
}

// labels is added to the configuration that init writes.
const labels = `
  - name: line-a
    profile: device
    issuer: issuing
    authorize: trusted
    passwords: &passwords
      - user: factory
        sha256: HASH
    own: [device]
  - name: linked
    profile: device
    issuer: issuing
    authorize: trusted
    passwords: *passwords
    own: [device]
    proof_of_possession: required
  - name: waiting
    profile: device
    issuer: issuing
    authorize: trusted
    passwords: *passwords
    own: [device]
    approval: true
    retry: 1s
  - name: keygen
    profile: curve
    issuer: issuing
    authorize: trusted
    passwords: *passwords
    own: [curve]
    keygen:
      plain: true
      symmetric_keys:
        line-7: line-7.hex
  - name: iotedge
    preset: azure-iot-edge
    profile: edge
    issuer: issuing
    authorize: trusted
    passwords: *passwords
    own: [edge]
  - name: iotedge-ca
    preset: azure-iot-edge
    profile: edge-ca-est
    gateway: edge-ca
    issuer: gateways
    authorize: trusted
    passwords: *passwords
    own: [edge-ca-est]
`

const profiles = `
  curve:
    preset: device
    keys: [P-256]
    validity: 90d
    key_encryption: true
  edge:
    preset: azure-iot-edge
    validity: 90d
  edge-ca-est:
    preset: azure-iot-edge
    validity: 90d
    subject:
      commonName:
        pattern: "aziot-edge CA (?P<device>[a-z0-9][a-z0-9._-]*)"
  edge-ca:
    preset: azure-edge-ca
    validity: 30d
`

// start builds the binary, initialises a state directory and serves it until
// the test ends.
func start(t *testing.T) *site {
	t.Helper()
	s := build(t, t.TempDir())
	s.init(t, profiles, labels)
	s.serve(t)
	return s
}

func build(t *testing.T, dir string) *site {
	t.Helper()
	s := &site{binary: filepath.Join(bin, "mintmark"), dir: filepath.Join(dir, "factory"), user: "factory"}
	built.Do(func() { s.run(t, "", "go", "build", "-ldflags", "-s -w", "-o", s.binary, "mintmark/cmd/mintmark") })
	return s
}

// bin holds the binary, which is built once for all tests.
var (
	bin   string
	built sync.Once
)

func TestMain(m *testing.M) {
	var err error
	if bin, err = os.MkdirTemp("", "interop"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(bin)
	os.Exit(status)
}

// init makes the state directory, with more profiles and labels than it is born
// with. HASH in the labels is that of the bootstrap credential.
func (s *site) init(t *testing.T, profiles, labels string) {
	t.Helper()
	s.mintmark(t, "init", "--dir", s.dir, "--organization", "Interop", "--name", "localhost", "--name", "127.0.0.1")
	s.root = filepath.Join(s.dir, "root.pem")
	issuing := filepath.Join(t.TempDir(), "issuing.pem")
	s.mintmark(t, "ca", "export", "issuing", "--dir", s.dir, "--out", issuing)
	s.issuing = certificates(t, issuing)[0]
	s.mintmark(t, "ca", "create", "--dir", s.dir, "--name", "gateway-root", "--common-name", "Gateway Root", "--validity", "7300d", "--path-len", "2")
	s.mintmark(t, "ca", "create", "--dir", s.dir, "--name", "gateways", "--issuer", "gateway-root", "--common-name", "Gateways", "--validity", "3650d", "--path-len", "1")

	_, s.secret, _ = strings.Cut(strings.TrimSpace(read(t, filepath.Join(s.dir, "secrets", "enroll"))), ":")
	sum := sha256.Sum256([]byte(s.secret))
	config := filepath.Join(s.dir, "mintmark.yaml")
	text := strings.Replace(read(t, config), "\nprofiles:", "\nprofiles:"+profiles, 1)
	write(t, config, text+strings.ReplaceAll(labels, "HASH", hex.EncodeToString(sum[:])))
	key := filepath.Join(s.dir, "line-7.hex")
	write(t, key, symmetricKey+"\n")
	if err := os.Chmod(key, 0o400); err != nil {
		t.Fatal(err)
	}
}

// symmetricKey is shared by the server and the devices of line 7.
const symmetricKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

// serve runs the server until the test ends, and demands a clean shutdown.
func (s *site) serve(t *testing.T) {
	t.Helper()
	cmd := exec.Command(s.binary, "serve", "--dir", s.dir, "--listen", "127.0.0.1:0")
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("server: %v", err)
		}
		if strings.Contains(log.String(), "level=ERROR") || strings.Contains(log.String(), "panic") {
			t.Errorf("the server's log has errors:\n%s", log.String())
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "est listening on "); ok {
			s.address = address
			go func() {
				for lines.Scan() {
				}
			}()
			return
		}
	}
	_ = cmd.Wait()
	t.Fatalf("the server did not start:\n%s", log.String())
}

// name is a device's that no cell has used.
func (s *site) name(prefix string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names++
	return fmt.Sprintf("%s-%04d", prefix, s.names)
}

// mintmark runs a command of ours.
func (s *site) mintmark(t testing.TB, args ...string) string {
	t.Helper()
	return s.run(t, "", s.binary, args...)
}

// run runs a program and fails the test if it fails.
func (s *site) run(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

// shell runs a script whose first failing command ends it.
func (s *site) shell(t testing.TB, dir, script string, env ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "BASE=https://"+s.address, "EST=https://"+s.address+"/.well-known/est", "ROOT="+s.root, "USERPASS="+s.user+":"+s.secret,
		"MINTMARK="+s.binary)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	return string(out)
}

// approving approves the request of a device as soon as it waits, beside what
// the caller does. The returned function waits until it has.
func (s *site) approving(t testing.TB, device string) (wait func()) {
	done := make(chan error, 1)
	go func() { done <- s.approve(t.Context(), device) }()
	return func() {
		t.Helper()
		if err := <-done; err != nil {
			t.Errorf("approving %s: %v", device, err)
		}
	}
}

func (s *site) approve(ctx context.Context, device string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		out, err := exec.CommandContext(ctx, s.binary, "enroll", "list", "--dir", s.dir, "--json").Output()
		if err != nil {
			return err
		}
		var list struct {
			Enrollments []struct {
				ID     string `json:"id"`
				Device string `json:"device"`
			} `json:"enrollments"`
		}
		if err := json.Unmarshal(out, &list); err != nil {
			return err
		}
		for _, e := range list.Enrollments {
			if e.Device == device {
				return exec.CommandContext(ctx, s.binary, "enroll", "approve", "--dir", s.dir, e.ID, "--note", "interop").Run()
			}
		}
	}
	return ctx.Err()
}

func read(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// certificates reads all certificates of a PEM file.
func certificates(t testing.TB, name string) []*x509.Certificate {
	t.Helper()
	var list []*x509.Certificate
	for rest := []byte(read(t, name)); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		t.Fatalf("%s holds no certificate", name)
	}
	return list
}
