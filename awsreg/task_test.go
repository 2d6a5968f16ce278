package awsreg

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"reflect"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// Every task that cannot be right is refused, and nothing of it is told.
func TestParseTaskRefusals(t *testing.T) {
	id := strings.Repeat("ab", 32)
	good := `{"certificateId":"` + id + `","device":"d","thing":"d","serial":"0a","issuer":"line","notAfter":"2030-01-01T00:00:00Z","state":"valid"}`
	if _, err := parseTask(ledger.Task{Key: id, Payload: []byte(good)}); err != nil {
		t.Fatal(err)
	}
	certificate := strings.ReplaceAll(certificatePEM([]byte("der")), "\n", `\n`)
	for _, test := range []struct{ name, key, payload, says string }{
		{"no JSON", id, `x`, "parsing"},
		{"no certificate", id, `{}`, "certificate id"},
		{"another certificate than its id says", id, strings.Replace(good, `"device"`, `"certificate":"`+certificate+`","device"`, 1), "not the one of its id"},
		{"a certificate from long ago", id, strings.Replace(good, `"device"`, `"notBefore":"1001-01-01T00:00:00Z","device"`, 1), "plausible begin"},
		{"an order without a name", "order/", `{"id":""}`, "no subject"},
		{"another order", "order/wo-1", `{"id":"wo-2"}`, "another subject"},
		{"a long device", "device/" + strings.Repeat("x", 257), `{"id":"` + strings.Repeat("x", 257) + `"}`, "no subject"},
		{"an import that is no JSON", "import/1", `1`, "parsing task"},
		{"a claim without PEM", id, `{"claim":{"serial":"0a","order":"wo-1","certificate":"x"}}`, "no PEM"},
		{"a claim without an order", id, `{"claim":{"serial":"0a","certificate":"` + certificate + `"}}`, "no work order"},
		{"a claim without a serial number", id, `{"claim":{"order":"wo-1","certificate":"` + certificate + `"}}`, "no serial"},
	} {
		if j, err := parseTask(ledger.Task{Key: test.key, Payload: []byte(test.payload)}); err == nil || j != nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func FuzzParseTask(f *testing.F) {
	c := ledger.Certificate{Serial: "0a", Order: "wo-1", DER: []byte("der"), Purpose: ledger.ForClaim, State: ledger.Valid}
	target := Target{Name: "a", CAs: []CA{{Issuer: "line", Use: UseRegister}}, Fleets: []Fleet{{Template: "pumps"}}, Rotation: &Rotation{}}
	device := ledger.Certificate{
		Serial: "0a", Issuer: "line", Device: "d 1", DER: []byte("der"), Purpose: ledger.ForDevice, State: ledger.Valid,
		NotBefore: time.Unix(1800000000, 0), NotAfter: time.Unix(1900000000, 0),
	}
	tasks := append(TasksFor([]Target{target}, c), TasksFor([]Target{target}, device)...)
	tasks = append(tasks, TasksForOrder([]Target{target}, "wo-1")...)
	tasks = append(tasks, TasksForDevice([]Target{target}, "d/1")...)
	tasks = append(tasks, TasksForImport([]Target{target}, "i")...)
	if len(tasks) != 5 {
		f.Fatalf("%d tasks", len(tasks))
	}
	for _, task := range tasks {
		if _, err := parseTask(task); err != nil {
			f.Fatal(err)
		}
		f.Add(task.Key, task.Payload)
	}
	f.Fuzz(func(t *testing.T, key string, payload []byte) {
		j, err := parseTask(ledger.Task{Key: key, Payload: payload})
		if err != nil {
			if j != nil {
				t.Errorf("an error and a task: %+v", j)
			}
			return
		}
		var again []byte
		switch {
		case j.push != nil:
			again, err = json.Marshal(j.push)
		case j.claim != nil:
			if len(j.claim.id()) != 64 {
				t.Errorf("id %q", j.claim.id())
			}
			again, err = json.Marshal(j.claim)
		default:
			again, err = json.Marshal(j.about)
		}
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseTask(ledger.Task{Key: key, Payload: again})
		if err != nil {
			t.Fatalf("%q became %q: %v", payload, again, err)
		}
		back.task, j.task = ledger.Task{}, ledger.Task{}
		if !reflect.DeepEqual(back, j) {
			t.Errorf("%+v became %+v", j, back)
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "claim"}}, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----"))
	f.Fuzz(func(t *testing.T, data []byte) {
		request, err := parseRequest(data)
		if err != nil {
			if request != nil {
				t.Error("an error and a request")
			}
			return
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request.Raw})
		if len(text) > maxRequest {
			t.Errorf("%d characters", len(text))
		}
		if back, err := parseRequest(text); err != nil || !reflect.DeepEqual(back.Raw, request.Raw) {
			t.Errorf("not the same again: %v", err)
		}
	})
}

func TestEncodeLine(t *testing.T) {
	line, err := encodeLine(bulkLine{ThingName: "x", CertificatePem: strings.Repeat("y", maxLine-200)})
	if err != nil || len(line) > maxLine || line[len(line)-1] != '\n' {
		t.Errorf("%d bytes, %v", len(line), err)
	}
	if _, err := encodeLine(bulkLine{CertificatePem: strings.Repeat("y", maxLine)}); err == nil {
		t.Error("a line longer than AWS takes")
	}
}
