package awsreg_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mintmark/awsreg"
	"mintmark/awsreg/awssim"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

func TestWriteBulkRefusals(t *testing.T) {
	w := newWorld(t)
	w.issuers = ancients(t)
	target := everything(w.sim.ControlURL())
	w.issue("press", "press-1")
	none := target
	none.CAs = target.CAs[:2]
	mixed := target
	mixed.CAs = append(target.CAs[:len(target.CAs):len(target.CAs)], awsreg.CA{
		Issuer: "old", Mode: awsreg.ModeSNIOnly, Use: awsreg.UseRegister, Register: &awsreg.Register{Policy: "another"},
	})
	mixed.CAs = mixed.CAs[2:]
	mixed.CAs = append(mixed.CAs[:2:2], mixed.CAs[4])
	for _, test := range []struct {
		name   string
		target awsreg.Target
		issuer string
		says   string
	}{
		{"no CA of that use", none, "", "register"},
		{"a CA of another use", target, "line", "register"},
		{"a CA in mode NONE", target, "lone", "NONE"},
		{"two kinds of devices", mixed, "", "name one CA"},
	} {
		var file bytes.Buffer
		if _, err := w.registrar(first).WriteBulk(t.Context(), test.target, ledger.Query{Issuer: test.issuer}, &file); err == nil || !strings.Contains(err.Error(), test.says) || file.Len() > 0 {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, err := w.registrar(first).WriteBulk(t.Context(), target, ledger.Query{}, full{}); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("a full disk: %v", err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

// bulkFile writes the file of a target and checks its lines.
func (w *world) bulkFile(target awsreg.Target, query ledger.Query) (awsreg.Bulk, []byte) {
	w.t.Helper()
	var file bytes.Buffer
	bulk, err := w.registrar(first).WriteBulk(w.t.Context(), target, query, &file)
	w.ok(err)
	lines := bytes.Split(bytes.TrimSuffix(file.Bytes(), []byte("\n")), []byte("\n"))
	if len(lines) != bulk.Things {
		w.t.Errorf("%d lines for %d things", len(lines), bulk.Things)
	}
	for _, line := range lines {
		var parameters map[string]string
		if err := json.Unmarshal(line, &parameters); err != nil || len(parameters) != 3 || len(line) > 256<<10 {
			w.t.Errorf("line %s: %v", line, err)
		}
	}
	if !json.Valid([]byte(bulk.Template)) || len(bulk.Template) > 10240 {
		w.t.Errorf("template %s", bulk.Template)
	}
	return bulk, file.Bytes()
}

// TestBulkRegistration has the simulator's bulk registration read the file, as an
// operator with the aws CLI does, and Reconcile see that the devices came in.
func TestBulkRegistration(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the aws CLI")
	}
	pkitest.AWS(t)
	bucket := t.TempDir()
	w := newWorld(t, func(c *awssim.Config) { c.Buckets = map[string]string{"factory": bucket} })
	w.issuers = ancients(t)
	target := everything(w.sim.ControlURL())
	target.CAs, target.Provider = target.CAs[:4], nil
	w.ledger()
	if _, err := w.registrar(first).Apply(t.Context(), target, nil); err != nil {
		t.Fatal(err)
	}
	var devices []ledger.Certificate
	for _, name := range []string{"press-1", "press-2", "press-3"} {
		devices = append(devices, w.issue("press", name))
	}
	held, gone, lone := w.issue("press", "press-4"), w.issue("press", "press-5"), w.issue("lone", "lone-1")
	w.holdDevice("press-4", ledger.Held)
	w.ok(w.revoke(t.Context(), []ledger.Serial{gone.Serial}))
	bulk, file := w.bulkFile(target, ledger.Query{})
	if bulk.Things != len(devices) {
		t.Fatalf("%d things", bulk.Things)
	}
	w.ok(os.WriteFile(filepath.Join(bucket, "devices.ndjson"), file, 0o600))
	template := filepath.Join(t.TempDir(), "template.json")
	w.ok(os.WriteFile(template, []byte(bulk.Template), 0o600))

	task := w.aws("start-thing-registration-task", "--template-body", "file://"+template, "--input-file-bucket", "factory",
		"--input-file-key", "devices.ndjson", "--role-arn", roleARN("mintmark-fleet"), "--query", "taskId")
	for deadline := time.Now().Add(30 * time.Second); ; {
		status := w.aws("describe-thing-registration-task", "--task-id", task, "--query", "[status,successCount,failureCount]")
		if fields := strings.Fields(status); len(fields) == 3 && fields[0] == "Completed" {
			if fields[1] != "3" || fields[2] != "0" {
				t.Fatalf("task: %s", status)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("task: %s", status)
		}
	}
	w.want("registered in bulk", active, devices...)
	w.want("not in the file", "", held, gone, lone)
	for _, c := range devices {
		if names := w.policiesOf(idOf(c)); len(names) != 1 || names[0] != "mintmark-device" {
			t.Errorf("policies %v", names)
		}
	}
	drift := w.reconcile(target, false)
	if len(drift.Left) != 0 || len(drift.Repaired) != 1 || drift.Repaired[0].CertificateID != idOf(lone) {
		t.Errorf("drift %+v", drift)
	}
}

// aws runs a command of the CLI's IoT service and returns what it prints.
func (w *world) aws(arguments ...string) string {
	w.t.Helper()
	cmd := exec.Command(pkitest.AWS(w.t), append([]string{"iot", "--endpoint-url", w.sim.ControlURL(), "--region", region, "--output", "text"}, arguments...)...)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+first.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+first.SecretAccessKey,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			w.t.Fatalf("aws %s: %s", arguments[0], exit.Stderr)
		}
		w.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
