package interop

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestWebhook has the example service decide about devices, and then takes it
// away: without its answer nobody enrolls.
func TestWebhook(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	python, ok := tool(t, "python3")
	if !ok {
		t.Skip("no python3")
	}
	dir := t.TempDir()
	s := build(t, dir)
	s.shell(t, dir, `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout mes.key -out mes.pem -subj /CN=mes -days 2 -addext subjectAltName=IP:127.0.0.1 2>/dev/null
openssl rand -hex 32 > mes.secret; chmod 400 mes.secret
printf 'press-1\n?press-2\n' > devices`)
	service, err := filepath.Abs("../../examples/webhook.py")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, service, "mes.pem", "mes.key", "mes.secret", "devices")
	cmd.Dir = dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	defer stop()
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	s.init(t, profiles, `
  - name: mes
    profile: device
    issuer: issuing
    authorize: webhook
    webhook:
      url: `+strings.TrimSpace(url)+`
      ca: `+filepath.Join(dir, "mes.pem")+`
      key_file: `+filepath.Join(dir, "mes.secret")+`
    passwords:
      - user: factory
        sha256: HASH
    own: [device]
    retry: 1s
`)
	s.serve(t)
	enroll := func(name string) string {
		return s.shell(t, dir, `"$MINTMARK" est enroll --url $BASE --label mes --ca $ROOT --password-file `+filepath.Join(s.dir, "secrets", "enroll")+
			` --name `+name+` --new-key `+name+`.key --out `+name+`.pem 2>&1 || echo "status $?"`)
	}
	if out := enroll("press-1"); !strings.Contains(out, "certificate ") {
		t.Errorf("allowed: %s", out)
	}
	approved := s.approving(t, "press-2")
	if out := enroll("press-2"); !strings.Contains(out, "certificate ") {
		t.Errorf("held and approved: %s", out)
	}
	approved()
	if out := enroll("press-3"); !strings.Contains(out, "webhook-denied") || !strings.Contains(out, "does not expect this device") {
		t.Errorf("denied: %s", out)
	}
	stop()
	out2 := s.shell(t, dir, `"$MINTMARK" est enroll --url $BASE --label mes --ca $ROOT --password-file `+filepath.Join(s.dir, "secrets", "enroll")+
		` --wait 0s --name press-4 --new-key press-4.key --out press-4.pem 2>&1 || echo "status $?"`)
	if !strings.Contains(out2, "503") || !strings.Contains(out2, "rule webhook") {
		t.Errorf("without the service: %s", out2)
	}
}
