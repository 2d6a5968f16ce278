package dpsreg_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/dpsreg"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/pkitest"
	"mintmark/internal/reconcile"
)

// outside is a machine with the network and without the CA.
func (w *world) outside(proofs dpsreg.ProofRequest) dpsreg.Pushing {
	t := w.target()
	return dpsreg.Pushing{Identity: t.Identity, Connect: t.Connect, Secret: os.ReadFile, Proofs: proofs, Now: w.now}
}

// inside is the target as the machine with the CA has it, which reaches nobody.
func (w *world) inside(change ...func(*dpsreg.Target)) dpsreg.Target {
	t := w.twoGroups()
	t.Connect.Address = "127.0.0.1:1"
	for _, f := range change {
		f(&t)
	}
	return t
}

// carried is a bundle as it comes out of its file.
func (w *world) carried(t dpsreg.Target) dpsreg.Bundle {
	w.t.Helper()
	b, err := w.registrar().Bundle(w.t.Context(), t)
	w.ok(err)
	data, err := json.Marshal(b)
	w.ok(err)
	if bytes.Contains(data, []byte("client-secret")) || bytes.Contains(data, []byte("127.0.0.1")) || bytes.Contains(data, []byte(w.sim.Config().ClientID)) {
		w.t.Error("the bundle holds what is about a machine or its secrets")
	}
	b, err = dpsreg.ParseBundle(data)
	w.ok(err)
	return b
}

// push pushes, agreeing to everything.
func (w *world) push(b dpsreg.Bundle, proofs dpsreg.ProofRequest) ([]string, dpsreg.ProofRequest, error) {
	w.t.Helper()
	done, request, err := dpsreg.Push(w.t.Context(), b, w.outside(proofs), reconcile.Agreed{Destructive: true}, nil)
	return todo(done), request, err
}

// proved answers a request where the keys are.
func (w *world) proved(request dpsreg.ProofRequest) dpsreg.ProofRequest {
	w.t.Helper()
	data, err := json.Marshal(request)
	w.ok(err)
	request, err = dpsreg.ParseProofs(data)
	w.ok(err)
	answer, err := w.registrar().Prove(w.t.Context(), request)
	w.ok(err)
	return answer
}

// A CA without a network: out with the bundle, back with the request, out with the
// proofs. What needs no proof is done the first time.
func TestBundle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.carried(w.inside())
	plan, err := dpsreg.PlanPush(t.Context(), b, w.outside(dpsreg.ProofRequest{}))
	w.ok(err)
	if got := todo(plan); !slices.Equal(got, []string{"create ca root", "create ca lone", "create group pumps", "create group rest"}) || len(changing(w.sim.Calls())) > 0 {
		t.Errorf("planned %q, calls %v", got, changing(w.sim.Calls()))
	}

	got, request, err := w.push(b, dpsreg.ProofRequest{})
	if err != nil || !slices.Equal(got, []string{"refuse ca root", "refuse ca lone", "refuse group pumps", "refuse group rest"}) {
		t.Fatalf("the first push: %q, %v", got, err)
	}
	if len(request.Proofs) != 2 || request.Target != "factory" || request.Proofs[1].Name != "by-hand" {
		t.Fatalf("request %+v", request)
	}
	answer := w.proved(request)
	w.advance(47 * time.Hour) // by hand, over a weekend
	got, request, err = w.push(b, answer)
	if err != nil || !slices.Equal(got, []string{"update ca root", "update ca lone", "create group pumps", "create group rest"}) || len(request.Proofs) != 0 {
		t.Fatalf("the second push: %q, %+v, %v", got, request, err)
	}
	w.settled(w.twoGroups())
	if got, _, err := w.push(b, answer); err != nil || len(got) != 0 { // once more
		t.Errorf("the third push: %q, %v", got, err)
	}
	if _, err := w.register(w.issue("line", "pump-1")); err != nil {
		t.Error(err)
	}
	if w.verifications != 2 {
		t.Errorf("%d proofs were made", w.verifications)
	}
}

// A key that is somewhere else altogether: the proof is made by openssl, as
// docs/azure.md says.
func TestBundleByOpenSSL(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.carried(w.inside())
	_, request, err := w.push(b, dpsreg.ProofRequest{})
	w.ok(err)
	for i, p := range request.Proofs {
		a := w.authority(p.Authority)
		der, err := x509.MarshalPKCS8PrivateKey(a.key)
		w.ok(err)
		w.file("ca.key", pkitest.PEM("PRIVATE KEY", der))
		w.file("ca.pem", pkitest.PEM("CERTIFICATE", a.Certificate.Raw))
		pkitest.OpenSSL(t, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
			"-keyout", w.path("throwaway.key"), "-subj", "/CN="+p.Code, "-out", w.path("proof.csr"))
		pkitest.OpenSSL(t, "x509", "-req", "-in", w.path("proof.csr"), "-CA", w.path("ca.pem"), "-CAkey", w.path("ca.key"),
			"-set_serial", "0x"+strings.Repeat("5", 32), "-days", "2", "-sha256", "-out", w.path("proof.pem"))
		request.Proofs[i].Certificate = string(pkitest.ReadFile(t, w.path("proof.pem")))
	}
	w.advance(time.Second) // openssl's clock has whole seconds
	if got, again, err := w.push(b, request); err != nil || len(again.Proofs) > 0 {
		t.Fatalf("%q, %+v, %v", got, again, err)
	}
	w.settled(w.twoGroups())
}

// One proof is there, the other is not: what stands on the first is done.
func TestBundleHalfProved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.carried(w.inside())
	_, request, err := w.push(b, dpsreg.ProofRequest{})
	w.ok(err)
	half := request
	half.Proofs = request.Proofs[1:]
	got, again, err := w.push(b, w.proved(half))
	if err != nil || !slices.Equal(got, []string{"refuse ca root", "update ca lone", "refuse group pumps", "create group rest"}) {
		t.Fatalf("%q, %v", got, err)
	}
	if len(again.Proofs) != 1 || again.Proofs[0].Authority != "root" {
		t.Fatalf("request %+v", again)
	}
	if _, _, err := w.push(b, w.proved(again)); err != nil {
		t.Fatal(err)
	}
	w.settled(w.twoGroups())
}

// A proof that DPS does not take, because another push has asked for a code since, stops
// its CA, and no other: asking for a code once more would end the one that may be on its
// way to the CA. So it is with one that has expired, or is none.
func TestBundleStaleProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.carried(w.inside())
	_, first, err := w.push(b, dpsreg.ProofRequest{})
	w.ok(err)
	answer := w.proved(first)
	_, second, err := w.push(b, dpsreg.ProofRequest{}) // which makes new codes
	w.ok(err)
	answer.Proofs[0] = w.proved(second).Proofs[0]
	from := len(w.sim.Calls())
	done, again, err := dpsreg.Push(t.Context(), b, w.outside(answer), reconcile.Agreed{Destructive: true}, nil)
	w.ok(err)
	if got := todo(done); len(again.Proofs) != 0 || !slices.Equal(got, []string{"update ca root", "refuse ca lone", "create group pumps", "refuse group rest"}) {
		t.Fatalf("%q, %+v", got, again)
	}
	for _, words := range []string{`the proof for "lone"`, "code " + first.Proofs[1].Code, "--request"} {
		if !strings.Contains(done.Changes[1].After, words) {
			t.Errorf("not said: %q: %s", words, done.Changes[1].After)
		}
	}
	if slices.Contains(w.sim.Calls()[from:], "certificates.generateVerificationCode") {
		t.Error("a code was asked for in the place of the one that is on its way")
	}

	good := w.proved(dpsreg.ProofRequest{Version: 1, Target: second.Target, Proofs: second.Proofs[1:]})
	for words, change := range map[string]func(*dpsreg.Proof){
		"expired":              func(*dpsreg.Proof) { w.advance(5 * 24 * time.Hour) },
		"lacks the proof":      func(p *dpsreg.Proof) { p.Certificate = "" },
		"for the certificate":  func(p *dpsreg.Proof) { p.SHA256 = strings.Repeat("0", 64) },
		"is not signed by the": func(p *dpsreg.Proof) { p.Certificate = answer.Proofs[0].Certificate; p.Code = answer.Proofs[0].Code },
	} {
		bad, offset := good, w.offset
		bad.Proofs = slices.Clone(good.Proofs)
		change(&bad.Proofs[0])
		done, again, err := dpsreg.Push(t.Context(), b, w.outside(bad), reconcile.Agreed{Destructive: true}, nil)
		if err != nil || len(again.Proofs) != 0 || !strings.Contains(rendered(done), words) {
			t.Errorf("want %q: %+v, %v\n%s", words, again, err, rendered(done))
		}
		w.offset = offset
	}
	if got, again, err := w.push(b, good); err != nil || len(again.Proofs) != 0 || !slices.Equal(got, []string{"update ca lone", "create group rest"}) {
		t.Fatalf("the proof of the code in force: %q, %+v, %v", got, again, err)
	}
	w.settled(w.twoGroups())
}

// Without a right, or with DPS away, a proof is not blamed.
func TestBundleProofNotBlamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.carried(w.inside())
	_, request, err := w.push(b, dpsreg.ProofRequest{})
	w.ok(err)
	w.sim.Inject(dpssim.Fault{Operation: "certificates.verify", Times: 1, Status: 403})
	answer := w.proved(request)
	if got, _, err := w.push(b, answer); status(err) != 403 {
		t.Errorf("%q, %v", got, err)
	}
	if _, again, err := w.push(b, answer); err != nil || len(again.Proofs) != 0 {
		t.Fatalf("%+v, %v", again, err)
	}
	w.settled(w.twoGroups())
}

// Nothing that is refused for good is done, the rest neither; and a CA with certificates
// in force is kept by what the bundle says of it.
func TestBundleGuards(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(w.twoGroups())
	d := w.issue("line", "pump-1")
	rotated := func(t *dpsreg.Target) {
		t.CAs = append(t.CAs, dpsreg.CA{Authority: "line2"})
		t.Groups[0].Anchors, t.Groups[0].Labels = []string{"line", "line2"}, nil
	}
	got, request, err := w.push(w.carried(w.inside(rotated)), dpsreg.ProofRequest{})
	if err != nil || !slices.Equal(got, []string{"refuse ca line2", "refuse group pumps"}) {
		t.Fatalf("%q, %v", got, err)
	}
	if _, _, err = w.push(w.carried(w.inside(rotated)), w.proved(request)); err != nil {
		t.Fatal(err)
	}
	last := func(t *dpsreg.Target) {
		rotated(t)
		t.Groups[0].Anchors = []string{"line2"}
	}
	b := w.carried(w.inside(last))
	before := w.state()
	if _, _, err := w.push(b, dpsreg.ProofRequest{}); err == nil || !strings.Contains(err.Error(), `anchor "line" cannot go: certificates of devices are in force below it`) {
		t.Errorf("got %v", err)
	}
	// A bundle that knows nothing of what is in the slot does not empty it.
	b.Authorities = slices.DeleteFunc(b.Authorities, func(a dpsreg.BundledAuthority) bool { return a.Name == "line" })
	if _, _, err := w.push(b, dpsreg.ProofRequest{}); err == nil || !strings.Contains(err.Error(), "of which the bundle knows nothing") {
		t.Errorf("got %v", err)
	}
	if w.state() != before {
		t.Error("something was changed")
	}
	w.revoke(d)
	if got, _, err := w.push(w.carried(w.inside(last)), dpsreg.ProofRequest{}); err != nil || !slices.Equal(got, []string{"update group pumps"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// A push that is cut anywhere is finished by the next one.
func TestBundleCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.carried(w.inside())
	for _, op := range []string{"certificates.createOrUpdate", "certificates.generateVerificationCode", "certificates.verify", "enrollmentGroups.put"} {
		w.sim.Inject(dpssim.Fault{Operation: op, Times: 1, AfterEffect: true})
	}
	_, request, err := w.push(b, dpsreg.ProofRequest{})
	w.ok(err)
	_, request, err = w.push(b, w.proved(request))
	if err != nil || len(request.Proofs) != 0 {
		t.Fatalf("%+v, %v", request, err)
	}
	w.settled(w.twoGroups())
}

// The CA proves possession of its own certificates and nothing else.
func TestProve(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := dpsreg.Proof{Name: "one", Authority: "root", SHA256: strings.ToUpper(dpsreg.SHA256(w.authority("root").Certificate)), Code: "75B86466DA34D2B04C0C4C9557A119687ADAE7D4732BDDB3"}
	for words, change := range map[string]func(*dpsreg.ProofRequest){
		"there is no CA":           func(r *dpsreg.ProofRequest) { r.Proofs[0].Authority = "nobody" },
		"that CA's certificate is": func(r *dpsreg.ProofRequest) { r.Proofs[0].SHA256 = dpsreg.SHA256(w.authority("lone").Certificate) },
		"not a SHA-256":            func(r *dpsreg.ProofRequest) { r.Proofs[0].SHA256 = "" },
		"not the name":             func(r *dpsreg.ProofRequest) { r.Proofs[0].Name = "a/b" },
		"an answer, not a request": func(r *dpsreg.ProofRequest) { r.Proofs[0].Certificate = "x" },
		"twice":                    func(r *dpsreg.ProofRequest) { r.Proofs = append(r.Proofs, good) },
		"version 2":                func(r *dpsreg.ProofRequest) { r.Version = 2 },
		"names no target":          func(r *dpsreg.ProofRequest) { r.Target = "" },
		"no authority":             func(r *dpsreg.ProofRequest) { r.Proofs[0].Authority = "" },
		"26 proofs":                func(r *dpsreg.ProofRequest) { r.Proofs = slices.Repeat(r.Proofs, 26) },
		"bytes":                    func(r *dpsreg.ProofRequest) { r.Proofs[0].Certificate = strings.Repeat("x", 100_000) },
	} {
		request := dpsreg.ProofRequest{Version: 1, Target: "factory", Proofs: []dpsreg.Proof{good}}
		change(&request)
		if _, err := w.registrar().Prove(t.Context(), request); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q, got %v", words, err)
		}
	}
	if w.verifications != 0 {
		t.Errorf("%d were signed", w.verifications)
	}
	request := dpsreg.ProofRequest{Version: 1, Target: "factory", Proofs: []dpsreg.Proof{good}}
	answer, err := w.registrar().Prove(t.Context(), request)
	if err != nil || answer.Proofs[0].Certificate == "" || request.Proofs[0].Certificate != "" {
		t.Errorf("%+v, %v", answer, err)
	}
	w.configure = append(w.configure, func(c *dpsreg.Config) {
		c.Carried = func(context.Context, string, string) ([]byte, error) { return []byte("nothing"), nil }
	})
	if _, err := w.registrar().Prove(t.Context(), request); err == nil {
		t.Error("a proof that is none was given out")
	}
}

// What a bundle must not be.
func TestBundleRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for words, change := range map[string]func(*dpsreg.Bundle){
		"version 2":             func(b *dpsreg.Bundle) { b.Version = 2 },
		"no authority":          func(b *dpsreg.Bundle) { b.Authorities = nil },
		"twice":                 func(b *dpsreg.Bundle) { b.Authorities = append(b.Authorities, b.Authorities[0]) },
		"not a certificate":     func(b *dpsreg.Bundle) { b.Authorities[0].Certificate = "x" },
		"not signed by":         func(b *dpsreg.Bundle) { b.Authorities[0].Chain = []string{b.Authorities[1].Certificate} },
		"chain of 11":           func(b *dpsreg.Bundle) { b.Authorities[0].Chain = make([]string, 11) },
		"1001 CAs":              func(b *dpsreg.Bundle) { b.Authorities = make([]dpsreg.BundledAuthority, 1001) },
		"is not 32 hex":         func(b *dpsreg.Bundle) { b.Target.SubscriptionID = "../.." },
		"there is no authority": func(b *dpsreg.Bundle) { b.Target.Groups[0].Anchors = []string{"nobody"} },
	} {
		b := w.carried(w.inside())
		change(&b)
		data, err := json.Marshal(b)
		w.ok(err)
		if _, err := dpsreg.ParseBundle(data); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q, got %v", words, err)
		}
		if _, _, err := w.push(b, dpsreg.ProofRequest{}); err == nil {
			t.Errorf("%s: pushed", words)
		}
	}
	good, err := json.Marshal(w.carried(w.inside()))
	w.ok(err)
	for words, data := range map[string]string{
		"unknown field":  strings.Replace(string(good), `"version":1`, `"version":1,"identity":{}`, 1),
		"more behind it": string(good) + "{}",
		"EOF":            "",
		"are more than":  string(good) + strings.Repeat(" ", 17<<20),
	} {
		if _, err := dpsreg.ParseBundle([]byte(data)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("want %q, got %.300v", words, err)
		}
	}
	b := w.carried(w.inside())
	other := dpsreg.ProofRequest{Version: 1, Target: "elsewhere", Proofs: []dpsreg.Proof{{Name: "x", Authority: "root", SHA256: strings.Repeat("a", 64), Code: "A"}}}
	if _, _, err := w.push(b, other); err == nil || !strings.Contains(err.Error(), `for target "elsewhere"`) {
		t.Errorf("proofs of another target: %v", err)
	}
}

func FuzzBundle(f *testing.F) {
	w := newWorld(f)
	good, err := json.Marshal(w.carried(w.inside()))
	w.ok(err)
	f.Add(good)
	f.Add([]byte(`{"version":1,"target":{"name":"a","cas":[],"groups":[]},"authorities":[]}`))
	f.Add([]byte(`{"version":1}{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := dpsreg.ParseBundle(data)
		if err != nil {
			return
		}
		out, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		again, err := dpsreg.ParseBundle(out)
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if back, _ := json.Marshal(again); !bytes.Equal(out, back) {
			t.Fatalf("%s\n%s", out, back)
		}
	})
}

func FuzzProof(f *testing.F) {
	f.Add([]byte(`{"version":1,"target":"a","proofs":[{"name":"n","authority":"r","sha256":"` + strings.Repeat("0", 64) + `","code":"A1"}]}`))
	f.Add([]byte(`{"version":1,"target":"a","proofs":[]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := dpsreg.ParseProofs(data)
		if err != nil {
			return
		}
		out, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := dpsreg.ParseProofs(out)
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if back, _ := json.Marshal(again); !bytes.Equal(out, back) {
			t.Fatalf("%s\n%s", out, back)
		}
	})
}
