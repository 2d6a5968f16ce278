package issuer_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
	"mintmark/internal/pkitest"
	"mintmark/issuer"
)

var rootsSpec = rotation.Spec{Kind: ledger.RotateRoot, Old: "root", New: "root-b"}

func authority(t testing.TB, ra *issuer.RA, name string) *ca.Authority {
	t.Helper()
	a, err := ra.Authority(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// deep makes a root with an issuing CA, and a second one with a CA between.
func deep(t testing.TB, ra *issuer.RA) *issuer.RA {
	t.Helper()
	two, one, zero := 2, 1, 0
	create(t, ra, rootSpec("root", "Test Root", 20, &two))
	for name, under := range map[string]string{"issuing": "root", "policy": "root"} {
		spec := rootSpec(name, "CA "+name, 15, map[string]*int{"issuing": &zero, "policy": &one}[name])
		spec.Issuer = under
		create(t, ra, spec)
	}
	spec := rootSpec("below", "CA below", 10, &zero)
	spec.Issuer = "policy"
	create(t, ra, spec)
	return ra
}

// TestRootRotation: CAs get certificates under the new root with the same key, subject and key
// identifier; the path that devices are shown changes with the state, and back; no certificate of a
// device is made anew.
func TestRootRotation(t *testing.T) {
	l := newLedger(t)
	made := newKeys(t)
	ra := deep(t, newRA(t, l, func(c *issuer.Config) { c.Keys = made }))
	second := newRA(t, l, func(c *issuer.Config) { c.Keys, c.Server = made, "second" })
	device := mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
	before := map[string]*x509.Certificate{}
	for _, a := range ra.Authorities() {
		before[a.Name()] = a.Certificate()
	}
	spec := rootsSpec
	spec.Canary = ledger.Canary{Labels: []string{"pilot"}}
	x := rotate(t, ra, spec)

	under := func(root, label string) {
		t.Helper()
		for _, one := range []*issuer.RA{ra, second} {
			if err := one.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			for name, length := range map[string]int{"issuing": 2, "below": 3} {
				path := one.PathFor(name, label, "device-1")
				if len(path) != length || !path[0].Equal(authority(t, ra, root).Certificate()) {
					t.Fatalf("%s: at %q the path of %s begins with %v", x.r.State, label, name, path[0].SerialNumber)
				}
				leaf := map[bool]*x509.Certificate{true: device.Certificate}[name == "issuing"]
				if leaf == nil {
					leaf = path[len(path)-1]
				}
				above := slices.Clone(path[1:])
				slices.Reverse(above)
				if err := ca.VerifyPath(leaf, above, path[:1], time.Now()); err != nil {
					t.Errorf("%s: at %q: %s: %v", x.r.State, label, name, err)
				}
				if !slices.EqualFunc(path, one.PathUnder(name, root), (*x509.Certificate).Equal) && x.r.Twins != nil {
					t.Errorf("%s: the path of %s under %s is another one", x.r.State, name, root)
				}
			}
		}
	}
	for _, state := range []rotation.State{rotation.KeyGenerated, rotation.Certified} {
		x.to(t, state)
		under("root", "pilot")
	}
	if len(x.r.Twins) != 2 {
		t.Fatalf("there are %d twins", len(x.r.Twins))
	}
	root := authority(t, ra, "root-b").Certificate()
	for _, twin := range x.r.Twins {
		own, c := before[twin.Authority], parseDER(t, twin.DER)
		if !slices.Equal(c.RawSubject, own.RawSubject) || !slices.Equal(c.SubjectKeyId, own.SubjectKeyId) || !slices.Equal(c.RawSubjectPublicKeyInfo, own.RawSubjectPublicKeyInfo) ||
			c.KeyUsage != own.KeyUsage || c.MaxPathLen != own.MaxPathLen || c.MaxPathLenZero != own.MaxPathLenZero || c.NotAfter.After(root.NotAfter) {
			t.Errorf("the twin of %s is not what it stands for", twin.Authority)
		}
		if !slices.Equal(c.AuthorityKeyId, root.SubjectKeyId) || c.CheckSignatureFrom(root) != nil || !slices.Equal(c.CRLDistributionPoints, []string{"http://ca.example:8080/crl/root-b.crl"}) ||
			!slices.Equal(c.IssuingCertificateURL, []string{"http://ca.example:8080/ca/root-b.crt"}) {
			t.Errorf("the twin of %s is not one by the new root", twin.Authority)
		}
		if record, err := l.Certificate(t.Context(), issuer.SerialOf(c.SerialNumber)); err != nil || record.State != ledger.Valid || record.Issuer != "root-b" || record.Purpose != ledger.ForCA {
			t.Errorf("recorded is %+v, %v", record, err)
		}
	}
	if ra.Bridges("issuing") != nil {
		t.Error("what leads between the roots is given out before it is distributed")
	}
	x.to(t, rotation.Distributing)
	if n := len(ra.Bridges("issuing")); n != 4 {
		t.Errorf("%d certificates lead between the roots", n)
	}
	// What is put below the old root now would be left behind.
	late := issuingUnder("root", "late")
	_, err := ra.CreateAuthority(t.Context(), late, admin)
	refusedBy(t, err, "rotation-root", "below that one")
	count := cas(t, l)

	x.to(t, rotation.Canaried)
	under("root", "line")
	under("root-b", "pilot")
	x.to(t, rotation.Switched)
	under("root-b", "line")
	answer := mustEnroll(t, ra, pkitest.NewKey(t), "device-2")
	if len(answer.Chain) != 1 || answer.Chain[0].CheckSignatureFrom(root) != nil || answer.Certificate.CheckSignatureFrom(before["issuing"]) != nil {
		t.Error("a device that enrolls now is not shown the new path")
	}
	if a := authority(t, second, "issuing"); !a.Root().Equal(root) || !slices.Equal(a.Certificate().RawSubject, before["issuing"].RawSubject) {
		t.Error("another server does not serve by the new path")
	}
	if path := ra.PathUnder("issuing", "root"); len(path) != 2 || !path[1].Equal(before["issuing"]) {
		t.Error("the certificate of before is not known any more")
	}
	if _, err := ra.Holder(t.Context(), device.Certificate); err != nil {
		t.Errorf("a certificate of before: %v", err)
	}

	x.to(t, rotation.TrustRemoved)
	if ra.Bridges("issuing") != nil || slices.ContainsFunc(ra.Anchors("issuing"), before["root"].Equal) {
		t.Error("the old root is still given out")
	}
	if authority(t, ra, "root").Certificate() == nil {
		t.Error("the old root signs no CRLs any more")
	}
	if n := cas(t, l); n != count {
		t.Errorf("%d certificates of CAs, and %d before the switch", n, count)
	}
	x.to(t, rotation.Archived)
	under("root-b", "line")

	// The next one begins where this has ended.
	next := rotate(t, ra, rotation.Spec{Kind: ledger.RotateRoot, Old: "root-b", New: "root-c"})
	next.to(t, rotation.Canaried)
	x = next
	under("root-b", "line")
	next.to(t, rotation.Switched)
	under("root-c", "line")
	if path := ra.PathUnder("issuing", "root"); len(path) != 2 || !path[1].Equal(before["issuing"]) {
		t.Error("the certificate under the first root is not known any more")
	}
}

// TestRootRotationBack: what is taken back is as it was, and can be done again with the same
// certificates.
func TestRootRotationBack(t *testing.T) {
	for _, state := range []rotation.State{rotation.Certified, rotation.Distributing, rotation.Canaried, rotation.Switched, rotation.Draining} {
		t.Run(string(state), func(t *testing.T) {
			l := newLedger(t)
			ra := deep(t, newRA(t, l, nil))
			before := map[string][]*x509.Certificate{}
			for _, a := range ra.Authorities() {
				before[a.Name()] = ra.Anchors(a.Name())
			}
			order := names(ra)
			x := rotate(t, ra, rootsSpec)
			x.to(t, state)
			kept := state == rotation.Draining
			x.back(t, kept)
			for name, path := range before {
				if !slices.EqualFunc(ra.PathFor(name, "", ""), path, (*x509.Certificate).Equal) || !slices.EqualFunc(ra.Anchors(name), path, (*x509.Certificate).Equal) {
					t.Errorf("%s does not stand as it did", name)
				}
			}
			if got := names(ra); !slices.Equal(got[:len(order)], order) {
				t.Errorf("the authorities are now %q", got)
			}
			if n := len(ra.Bridges("issuing")); kept != (n == 4) {
				t.Errorf("kept %v: %d certificates lead between the roots", kept, n)
			}
			if kept && ra.PathUnder("issuing", "root-b") == nil {
				t.Error("the path under the new root is gone")
			}
			if _, ok := ra.RotationOf("issuing"); ok {
				t.Error("a rotation that is over concerns issuing")
			}
			count := cas(t, l)
			again := *x
			again.r.ID, again.r.Version, again.r.State, again.r.Twins, again.r.Kept = "again", 0, "", nil, false
			again.put(t, rotation.Planned, ledger.IssueOld)
			again.to(t, rotation.Switched)
			if n := cas(t, l); n != count {
				t.Errorf("done again it made %d certificates", n-count)
			}
		})
	}
}

func names(ra *issuer.RA) (list []string) {
	for _, a := range ra.Authorities() {
		list = append(list, a.Name())
	}
	return list
}

// TestEmergency: the key of the old root signs nothing, and need not be there.
func TestEmergency(t *testing.T) {
	store := newKeys(t).(*keys)
	l := newLedger(t)
	deep(t, newRA(t, l, func(c *issuer.Config) { c.Keys = store }))
	delete(store.made, "softkms:path=keys/root.pem")
	ra := newRA(t, l, func(c *issuer.Config) { c.Keys = store })
	spec := rootsSpec
	spec.Emergency = true
	x := rotate(t, ra, spec)
	if err := x.does.SignsNow(t.Context(), "root"); err == nil {
		t.Error("a key that is gone signs")
	}
	x.to(t, rotation.TrustRemoved)
	for _, name := range []string{"root", "root-b"} {
		page, err := l.Certificates(t.Context(), ledger.Query{Issuer: name, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Certificates {
			for _, other := range []string{"root", "root-b"} {
				if other != name && slices.Equal(parseDER(t, c.DER).RawSubjectPublicKeyInfo, authority(t, ra, other).Certificate().RawSubjectPublicKeyInfo) {
					t.Errorf("%s has certified %s", name, other)
				}
			}
		}
	}
	// There is nothing to revoke: the certificates of the CAs below have their own keys.
	if err := x.does.Revoke(t.Context(), x.r, ledger.KeyCompromise, "test"); err != nil {
		t.Fatal(err)
	}
	page, err := l.Certificates(t.Context(), ledger.Query{State: ledger.Revoked})
	if err != nil || len(page.Certificates) != 0 {
		t.Errorf("revoked: %+v, %v", page.Certificates, err)
	}
	mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
}

// TestLeftBelow counts certificates, not devices, and leaves out what is over.
func TestLeftBelow(t *testing.T) {
	now := &clock{time.Now()}
	ra := withHierarchy(t, newRA(t, newLedger(t), func(c *issuer.Config) { c.Now = now.Now }))
	revoked := mustEnroll(t, ra, pkitest.NewKey(t), "device-0")
	mustEnroll(t, ra, pkitest.NewKey(t), "device-1")
	now.now = now.now.Add(48 * time.Hour)
	ra.Tick(t.Context())
	last := mustEnroll(t, ra, pkitest.NewKey(t), "device-2")
	if _, err := ra.Revoke(t.Context(), ledger.Selector{Serial: revoked.Serial}, ledger.Superseded, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := ra.Enroll(t.Context(), issuer.Request{Authorize: issuer.Trusted, Profile: "server", Issuer: "issuing", Requester: admin,
		CSR: pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: "est.example"}, "est.example")}); err != nil {
		t.Fatal(err)
	}
	does := ra.Rotations()
	r := ledger.Rotation{Kind: ledger.RotateIssuing, Old: "issuing", New: "issuing-b"}
	left, err := does.LeftBelow(t.Context(), r)
	if err != nil || left.Devices != 2 || left.Others != 1 || left.LastExpiry.Before(last.Certificate.NotAfter) {
		t.Errorf("left are %+v, %v", left, err)
	}
	// Below the root is the issuing CA; the root is not below itself.
	left, err = does.LeftBelow(t.Context(), ledger.Rotation{Kind: ledger.RotateRoot, Old: "root", New: "root-b"})
	if err != nil || left.Devices != 0 || left.Others != 1 || !left.LastExpiry.Equal(authority(t, ra, "issuing").Certificate().NotAfter) {
		t.Errorf("below the root are %+v, %v", left, err)
	}
	r.Old, r.New = r.New, r.Old
	if left, err = does.LeftBelow(t.Context(), r); err != nil || left != (rotation.Left{}) {
		t.Errorf("below the new one are %+v, %v", left, err)
	}
	now.now = last.Certificate.NotAfter.Add(time.Second)
	r.Old = "issuing"
	if left, err = does.LeftBelow(t.Context(), r); err != nil || left.Devices != 0 {
		t.Errorf("after all have expired: %+v, %v", left, err)
	}
}

// TestLeftBelowOfDevices: gateways are devices, and those that officers have waived count apart.
func TestLeftBelowOfDevices(t *testing.T) {
	l := newLedger(t)
	ra := withEdgeCA(t, withHierarchy(t, newRA(t, l, withEdge(t))))
	x := rotate(t, ra, rotation.Spec{Kind: ledger.RotateIssuing, Old: "edge", New: "edge-b"})
	for _, name := range []string{"dev-1", "dev-2"} {
		r := issuer.Request{Profile: "edge-est", Gateway: "edge-ca", Issuer: "edge", Label: "edge", Authorize: issuer.Trusted, Device: name, Requester: password, SecondKey: issuer.AllowSecondKey}
		for _, extensions := range []func(*x509.CertificateRequest){nil, edgeCA} {
			r.CSR = signed(t, pkitest.NewKey(t), pkix.Name{CommonName: "aziot-edge CA " + name}, extensions)
			if _, err := ra.Enroll(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(devices, waived int) {
		t.Helper()
		left, err := x.does.LeftBelow(t.Context(), x.r)
		if err != nil || left.Devices != devices || left.Waived != waived || left.Others != 0 || left.LastExpiry.IsZero() {
			t.Errorf("left are %+v, %v", left, err)
		}
	}
	check(4, 0)
	// The certificate of a device that is not waived does not hide behind one that is.
	if err := l.NoteAnchors(t.Context(), x.r.ID, []ledger.AnchorNote{{Device: "dev-1", Waived: time.Now(), WaivedBy: "alice", Why: "in the warehouse"}}); err != nil {
		t.Fatal(err)
	}
	check(2, 2)
}

// dying is a ledger that fails one write of an authority.
type dying struct {
	ledger.Ledger
	armed bool
}

func (d *dying) PutAuthority(ctx context.Context, a ledger.Authority) error {
	if d.armed && len(a.Certificate) > 0 {
		d.armed = false
		return io.ErrClosedPipe
	}
	return d.Ledger.PutAuthority(ctx, a)
}

// TestMakeAgain: what was made before the process died is found, and nothing is made twice.
func TestMakeAgain(t *testing.T) {
	for _, spec := range []rotation.Spec{rootsSpec, issuingSpec} {
		t.Run(string(spec.Kind), func(t *testing.T) {
			store := newKeys(t).(*keys)
			l := &dying{Ledger: newLedger(t)}
			ra := withHierarchy(t, newRA(t, l, func(c *issuer.Config) { c.Keys = store }))
			x := rotate(t, ra, spec)
			l.armed = true
			if err := x.does.Make(t.Context(), x.r, x.spec); !errors.Is(err, io.ErrClosedPipe) {
				t.Fatalf("a write failed, and the error is %v", err)
			}
			count, kept := cas(t, l), len(store.made)
			x.to(t, rotation.KeyGenerated)
			if n := cas(t, l); n != count || len(store.made) != kept {
				t.Errorf("%d certificates and %d keys were made again", n-count, len(store.made)-kept)
			}
		})
	}
	// A key that lies there is taken if it could be ours, and refused if it cannot.
	store := newKeys(t).(*keys)
	ra := withHierarchy(t, newRA(t, newLedger(t), func(c *issuer.Config) { c.Keys = store }))
	x := rotate(t, ra, rootsSpec)
	const uri = "softkms:path=keys/root-b.pem"
	for text, key := range map[string]string{"not a key of the kind": "RSA-2048", "key of authority": ""} {
		if store.made[uri] = store.made["softkms:path=keys/issuing.pem"]; key != "" {
			store.made[uri] = pkitest.Key(t, key)
		}
		if err := x.does.Make(t.Context(), x.r, x.spec); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
	store.made[uri] = pkitest.NewKey(t)
	if err := x.does.Make(t.Context(), x.r, x.spec); err != nil {
		t.Error(err)
	}
}
