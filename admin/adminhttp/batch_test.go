package adminhttp_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"mintmark/admin"
	"mintmark/internal/cms"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
)

// batchName is the identifier of a batch, made of any text.
func batchName(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

// manifest is one that names a certificate.
func (w *world) manifest(t testing.TB, id string, serials ...ledger.Serial) string {
	t.Helper()
	text := fmt.Sprintf(`{"manifest":1,"batch":%q,"profile":"device","issuer":"issuing","created":"2027-01-31T12:00:00Z","files":1,"devices":%d}`, id, len(serials)) + "\n"
	text += `{"file":"part-0001.zip","size":1,"sha256":"` + strings.Repeat("0", 64) + `"}` + "\n"
	for _, serial := range serials {
		c, err := w.ra.Ledger.Certificate(t.Context(), serial)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(c.DER)
		text += fmt.Sprintf(`{"device":%q,"serial":%q,"part":1,"sha256":"%x"}`, c.Device, serial, sum) + "\n"
	}
	return text
}

// publicKey is the SubjectPublicKeyInfo of a new key.
func publicKey(t testing.TB, curve elliptic.Curve) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

const someBatch = "0123456789abcdef0123456789abcdef"

// TestBatch: items stand for themselves, and the same call again issues nothing.
func TestBatch(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	// The point of a key with its last byte changed is not on the curve.
	off := publicKey(t, elliptic.P256())
	off[len(off)-1] ^= 1
	in := admin.Batch{Profile: "device", Issuer: "issuing", Items: []admin.BatchItem{
		{CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "pump-1"})},
		{Name: "pump-2", Key: publicKey(t, elliptic.P256())},
		{Name: "../pump", Key: publicKey(t, elliptic.P256())},
		{Name: "pump-3", Key: publicKey(t, elliptic.P224())},
		{CSR: []byte("no request")},
		{Name: "pump-4", Key: off},
		{Name: "pump-5", Key: append(publicKey(t, elliptic.P256()), 0)},
	}}
	in.Items = append(in.Items, admin.BatchItem{Name: "pump-6", Key: in.Items[1].Key})
	first, err := w.client.BatchCertificates(t.Context(), someBatch, in)
	if err != nil {
		t.Fatal(err)
	}
	rules := []string{"", "", "subject", "key-type", "csr-syntax", "key-type", "key-type", ""}
	for i, r := range first.Results {
		switch {
		case i == 7:
			// The one key of two devices: whoever came first has it.
			if one := first.Results[1].Refusal; (r.Refusal == nil) == (one == nil) {
				t.Errorf("one key for two devices: %+v and %+v", one, r.Refusal)
			}
		case i == 1:
		case rules[i] == "" && (r.Refusal != nil || r.Prior || len(first.Chains[r.Chain]) != 1):
			t.Errorf("item %d: %+v", i, r.Refusal)
		case rules[i] != "" && (r.Refusal == nil || r.Refusal.Rule != rules[i] || r.Refusal.Retry || r.Certificate != nil):
			t.Errorf("item %d: %+v, want rule %s", i, r.Refusal, rules[i])
		}
	}
	in.Items = in.Items[:2]
	in.Items[1].Name, in.Items[1].Key = "pump-9", publicKey(t, elliptic.P256())
	if first, err = w.client.BatchCertificates(t.Context(), someBatch, in); err != nil {
		t.Fatal(err)
	}
	again, err := w.client.BatchCertificates(t.Context(), someBatch, in)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range again.Results {
		if want := []string{"pump-1", "pump-9"}[i]; r.Device != want || first.Results[i].Device != want {
			t.Errorf("item %d is of device %q, and then of %q", i, first.Results[i].Device, r.Device)
		}
		if !r.Prior || !bytes.Equal(r.Certificate, first.Results[i].Certificate) {
			t.Errorf("item %d again: %+v", i, r)
		}
	}
}

// TestBatchCheck: what would refuse every certificate is said before there are keys.
func TestBatchCheck(t *testing.T) {
	p := populate(t)
	p.order(t, "wo-1")
	for _, tt := range []struct {
		name, who, query string
		status           int
		rule             string
	}{
		{"good", "olga", "profile=device&issuer=issuing&order=wo-1&key_type=P-256", http.StatusOK, ""},
		{"good without keys", "line-1", "profile=device&issuer=issuing", http.StatusOK, ""},
		{"nothing", "olga", "", http.StatusNotFound, "profile"},
		{"no profile", "olga", "profile=nobody&issuer=issuing", http.StatusNotFound, "profile"},
		{"servers", "olga", "profile=server&issuer=issuing", http.StatusForbidden, "batch"},
		{"no CA", "olga", "profile=device&issuer=nobody", http.StatusNotFound, "authority"},
		{"no order", "olga", "profile=device&issuer=issuing&order=wo-2", http.StatusNotFound, "not-found"},
		{"no name of an order", "olga", "profile=device&issuer=issuing&order=a%20b", http.StatusNotFound, "not-found"},
		{"key type", "olga", "profile=device&issuer=issuing&key_type=RSA-1024", http.StatusForbidden, "key-type"},
		{"keys of a station", "line-1", "profile=device&issuer=issuing&key_type=P-256", http.StatusForbidden, "station"},
		{"officer", "alice", "profile=device&issuer=issuing", http.StatusForbidden, "role"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := p.ask(t, tt.who, "GET", wire{path: "/v1/batches/check", query: "?" + tt.query})
			if answer.Code != tt.status || tt.rule != "" && ruleOf(answer) != tt.rule {
				t.Errorf("answered %d %s, want %d by rule %s", answer.Code, answer.Body, tt.status, tt.rule)
			}
		})
	}
}

// TestBatchRefused: what is wrong with a call as a whole.
func TestBatchRefused(t *testing.T) {
	p := populate(t)
	der := pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "pump-1"})
	good := admin.Batch{Profile: "device", Issuer: "issuing", Items: []admin.BatchItem{{CSR: der}}}
	with := func(change func(*admin.Batch)) admin.Batch {
		b := good
		b.Items = []admin.BatchItem{{CSR: der}}
		change(&b)
		return b
	}
	many := make([]admin.BatchItem, admin.MaxBatchItems+1)
	for i := range many {
		many[i] = admin.BatchItem{CSR: der}
	}
	for _, tt := range []struct {
		name, who, id string
		in            admin.Batch
		status        int
		rule          string
	}{
		{"identifier", "olga", "WO-1", good, http.StatusBadRequest, "batch"},
		{"capital letters", "olga", strings.ToUpper(someBatch), good, http.StatusBadRequest, "batch"},
		{"nothing", "olga", someBatch, with(func(b *admin.Batch) { b.Items = nil }), http.StatusBadRequest, "batch"},
		{"too many", "olga", someBatch, with(func(b *admin.Batch) { b.Items = many }), http.StatusBadRequest, "batch"},
		{"neither", "olga", someBatch, with(func(b *admin.Batch) { b.Items[0] = admin.BatchItem{Name: "x"} }), http.StatusBadRequest, "batch"},
		{"both", "olga", someBatch, with(func(b *admin.Batch) { b.Items[0].Key = publicKey(t, elliptic.P256()) }), http.StatusBadRequest, "batch"},
		{"two names", "olga", someBatch, with(func(b *admin.Batch) { b.Items[0].Name = "pump-2" }), http.StatusBadRequest, "batch"},
		{"no profile", "olga", someBatch, with(func(b *admin.Batch) { b.Profile = "nobody" }), http.StatusNotFound, "profile"},
		{"own profile", "olga", someBatch, with(func(b *admin.Batch) { b.Profile = "manifest" }), http.StatusNotFound, "profile"},
		{"servers", "olga", someBatch, with(func(b *admin.Batch) { b.Profile = "server" }), http.StatusForbidden, "batch"},
		{"registration authority", "olga", someBatch, with(func(b *admin.Batch) { b.Profile = "ra" }), http.StatusForbidden, "batch"},
		{"no CA", "olga", someBatch, with(func(b *admin.Batch) { b.Issuer = "nobody" }), http.StatusNotFound, "authority"},
		{"CA of officers", "olga", someBatch, with(func(b *admin.Batch) { b.Issuer = "officers" }), http.StatusForbidden, "issuer"},
		{"CA of claims", "olga", someBatch, with(func(b *admin.Batch) { b.Issuer = "claims" }), http.StatusForbidden, "issuer"},
		{"station without label", "line-1", someBatch, with(func(b *admin.Batch) { b.Issuer = "root" }), http.StatusForbidden, "station"},
		{"station with a bare key", "line-1", someBatch, with(func(b *admin.Batch) {
			b.Items[0] = admin.BatchItem{Name: "pump-1", Key: publicKey(t, elliptic.P256())}
		}), http.StatusForbidden, "station"},
		{"officer", "alice", someBatch, good, http.StatusForbidden, "role"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := p.ask(t, tt.who, "POST", wire{path: "/v1/batches/" + tt.id + "/certificates", body: tt.in})
			if answer.Code != tt.status || ruleOf(answer) != tt.rule {
				t.Errorf("answered %d %s, want %d by rule %s", answer.Code, answer.Body, tt.status, tt.rule)
			}
		})
	}
	if page, err := p.ra.Ledger.Certificates(t.Context(), ledger.Query{Purpose: ledger.ForDevice}); err != nil || len(page.Certificates) > 0 {
		t.Errorf("%d certificates were issued: %v", len(page.Certificates), err)
	}
}

// TestBatchOrder: the order pays once for each device, and ends.
func TestBatchOrder(t *testing.T) {
	p := populate(t)
	p.order(t, "wo-1") // 10 units
	in := admin.Batch{Profile: "device", Issuer: "issuing", Order: "wo-1"}
	for i := range 12 {
		in.Items = append(in.Items, admin.BatchItem{Name: fmt.Sprintf("pump-%d", i), Key: publicKey(t, elliptic.P256())})
	}
	for range 2 {
		answer := p.ask(t, "olga", "POST", wire{path: "/v1/batches/" + someBatch + "/certificates", body: in})
		var out admin.BatchIssued
		if err := json.Unmarshal(answer.Body.Bytes(), &out); err != nil || answer.Code != http.StatusOK {
			t.Fatalf("answered %d %s", answer.Code, answer.Body)
		}
		issued := 0
		for _, r := range out.Results {
			switch {
			case r.Refusal == nil:
				issued++
			case r.Refusal.Rule != "order-exhausted" && r.Refusal.Rule != "order-in-flight":
				t.Errorf("refused by rule %s", r.Refusal.Rule)
			}
		}
		if issued != 10 {
			t.Errorf("%d of 12 were issued under an order of 10", issued)
		}
	}
}

// TestManifest: what is on record is signed, and the certificate that signs is good for
// nothing else.
func TestManifest(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	serials := []ledger.Serial{ledger.Serial(w.issue(t, "pump-1").Certificate.Serial), ledger.Serial(w.issue(t, "pump-2").Certificate.Serial)}
	if _, err := w.client.Revoke(t.Context(), admin.Revocation{Serial: string(serials[1])}); err != nil {
		t.Fatal(err)
	}
	manifest := []byte(w.manifest(t, someBatch, serials...))
	der, err := w.client.SignManifest(t.Context(), someBatch, manifest)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := cms.VerifyDetached(der, manifest)
	if err != nil {
		t.Fatal(err)
	}
	signer := signed.Signer
	issuing, err := w.ra.Authority("issuing")
	if err != nil {
		t.Fatal(err)
	}
	if signer.Subject.CommonName != "Manifest "+someBatch || signer.IsCA || len(signer.ExtKeyUsage) > 0 || len(signer.UnknownExtKeyUsage) != 1 ||
		signer.UnknownExtKeyUsage[0].String() != "1.3.6.1.5.5.7.3.36" || signer.KeyUsage != x509.KeyUsageDigitalSignature ||
		len(signer.DNSNames)+len(signer.IPAddresses)+len(signer.URIs) > 0 || !signer.NotAfter.Equal(issuing.Certificate().NotAfter) {
		t.Errorf("the signer is %+v", signer)
	}
	if len(signed.Certificates) != 2 {
		t.Errorf("the message has %d certificates, want the signer's and its CA's", len(signed.Certificates))
	}
	record, err := w.client.Certificate(t.Context(), hex.EncodeToString(signer.SerialNumber.Bytes()))
	if err != nil || record.Purpose != "manifest" || record.Device != "" || record.Requester.Name != "local:tester" {
		t.Errorf("the record is %+v, %v", record, err)
	}
	devices, err := w.client.Devices(t.Context(), admin.DeviceQuery{})
	if err != nil || len(devices.Devices) != 2 {
		t.Errorf("there are %d devices: %v", len(devices.Devices), err)
	}
}

// TestManifestRefused: nothing is signed that the ledger does not say.
func TestManifestRefused(t *testing.T) {
	w := open(t, nil).hierarchy(t)
	device := ledger.Serial(w.issue(t, "pump-1").Certificate.Serial)
	server, err := w.client.Issue(t.Context(), admin.Issue{Profile: "server", Issuer: "issuing", CSR: csr(t, "plc.example.org")})
	if err != nil {
		t.Fatal(err)
	}
	good := w.manifest(t, someBatch, device)
	for name, tt := range map[string]struct{ id, manifest string }{
		"another batch": {batchName("x"), good},
		"nothing":       {someBatch, ""},
		"no device":     {someBatch, w.manifest(t, someBatch)},
		"server":        {someBatch, w.manifest(t, someBatch, ledger.Serial(server.Certificate.Serial))},
		"unknown":       {someBatch, strings.Replace(good, string(device), strings.Repeat("ab", 16), 1)},
		"other device":  {someBatch, strings.Replace(good, `"device":"pump-1"`, `"device":"pump-2"`, 1)},
		"control":       {someBatch, strings.Replace(good, "part-0001.zip", `part\u001b[2J.zip`, 1)},
		"no serial":     {someBatch, strings.Replace(good, string(device), "AB", 1)},
		"other content": {someBatch, strings.Replace(good, `"part":1,"sha256":"`, `"part":1,"sha256":"`+strings.Repeat("0", 64)+`","x":"`, 1)},
		"other hash":    {someBatch, good[:len(good)-68] + strings.Repeat("0", 64) + "\"}\n"},
		"profile":       {someBatch, strings.Replace(good, `"profile":"device"`, `"profile":"server"`, 1)},
		"CA":            {someBatch, strings.Replace(good, `"issuer":"issuing"`, `"issuer":"root"`, 1)},
		"no CA":         {someBatch, strings.Replace(good, `"issuer":"issuing"`, `"issuer":"nobody"`, 1)},
		"more devices":  {someBatch, strings.Replace(good, `"devices":1`, `"devices":2`, 1)},
		"fewer files":   {someBatch, strings.Replace(good, `"files":1`, `"files":0`, 1)},
		"outside":       {someBatch, strings.Replace(good, "part-0001.zip", "../part-0001.zip", 1)},
		"version":       {someBatch, strings.Replace(good, `{"manifest":1`, `{"manifest":2`, 1)},
		"two objects":   {someBatch, strings.Replace(good, "}\n", "}{}\n", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			if signature, err := w.client.SignManifest(t.Context(), tt.id, []byte(tt.manifest)); err == nil {
				t.Errorf("signed with %d bytes:\n%s", len(signature), tt.manifest)
			}
		})
	}
	page, err := w.ra.Ledger.Certificates(t.Context(), ledger.Query{Purpose: ledger.ForManifest})
	if err != nil || len(page.Certificates) > 0 {
		t.Errorf("%d certificates for manifests: %v", len(page.Certificates), err)
	}
	if _, err := w.client.SignManifest(t.Context(), someBatch, []byte(good)); err != nil {
		t.Errorf("the good one: %v", err)
	}
}
