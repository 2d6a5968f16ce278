package dpssim

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	arms "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/deviceprovisioningservices/armdeviceprovisioningservices"
)

var ctx = context.Background()

const (
	inGroup = "factory"
	ofDPS   = "mintmark-dps"
)

// TestProofOfPossession is the whole life of a CA's certificate, by the vendor's own client:
// upload, code, proof, deletion, and the etag that changes at each step.
func TestProofOfPossession(t *testing.T) {
	s := startSim(t)
	c := s.certificates(t)
	ca := newArmCA(t, "Root")
	verified := false
	up, err := c.CreateOrUpdate(ctx, inGroup, ofDPS, "root-1", arms.CertificateResponse{
		Properties: &arms.CertificateProperties{Certificate: ca.cert.Raw, IsVerified: &verified},
	}, nil)
	wantStatus(t, "upload", err, 0)
	if *up.Name != "root-1" || *up.Properties.IsVerified || !bytes.Equal(up.Properties.Certificate, ca.cert.Raw) ||
		*up.Properties.Subject != "CN=Root, O=Example Works" && *up.Properties.Subject != "O=Example Works, CN=Root" ||
		!up.Properties.Expiry.Equal(ca.cert.NotAfter) || len(*up.Properties.Thumbprint) != 40 || *up.Type != "Microsoft.Devices/ProvisioningServices/Certificates" {
		b, _ := json.Marshal(up.CertificateResponse)
		t.Errorf("uploaded %s", b)
	}
	code, err := c.GenerateVerificationCode(ctx, "root-1", *up.Etag, inGroup, ofDPS, nil)
	wantStatus(t, "code", err, 0)
	// 24 bytes in upper-case hexadecimal, as codes of Azure are.
	if code.Etag != nil || !regexp.MustCompile(`^[0-9A-F]{48}$`).MatchString(*code.Properties.VerificationCode) || *code.Properties.IsVerified {
		t.Errorf("code %+v", *code.Properties)
	}
	proof := base64Of(ca.proof(t, *code.Properties.VerificationCode))
	// The etag of the upload is not good any more: the code was a change.
	_, err = c.VerifyCertificate(ctx, "root-1", *up.Etag, inGroup, ofDPS, arms.VerificationCodeRequest{Certificate: &proof}, nil)
	if failed := wantStatus(t, "proof with an old etag", err, 412); !strings.Contains(failed.Error(), "Invalid ETag supplied.") || !strings.Contains(failed.Error(), "IH412001") {
		t.Errorf("text %v", failed)
	}
	got, err := c.Get(ctx, "root-1", inGroup, ofDPS, nil)
	wantStatus(t, "get", err, 0)
	if *got.Etag == *up.Etag || *got.Properties.IsVerified {
		t.Errorf("etag %s after %s", *got.Etag, *up.Etag)
	}
	done, err := c.VerifyCertificate(ctx, "root-1", *got.Etag, inGroup, ofDPS, arms.VerificationCodeRequest{Certificate: &proof}, nil)
	wantStatus(t, "proof", err, 0)
	if !*done.Properties.IsVerified || *done.Etag == *got.Etag {
		t.Errorf("verified %v, etag %s after %s", *done.Properties.IsVerified, *done.Etag, *got.Etag)
	}
	list, err := c.List(ctx, inGroup, ofDPS, nil)
	wantStatus(t, "list", err, 0)
	if len(list.Value) != 1 || *list.Value[0].Etag != *done.Etag || !*list.Value[0].Properties.IsVerified {
		t.Errorf("list %+v", list.Value)
	}
	if state := string(s.State()); !strings.Contains(state, `"verified": true`) || strings.Contains(state, *done.Etag) {
		t.Errorf("state %s", state)
	}
	_, err = c.Delete(ctx, inGroup, *got.Etag, ofDPS, "root-1", nil)
	wantStatus(t, "deletion with an old etag", err, 412)
	_, err = c.Delete(ctx, inGroup, *done.Etag, ofDPS, "root-1", nil)
	wantStatus(t, "deletion", err, 0)
	_, err = c.Delete(ctx, inGroup, *done.Etag, ofDPS, "root-1", nil)
	wantStatus(t, "second deletion", err, 0) // 204
	_, err = c.Get(ctx, "root-1", inGroup, ofDPS, nil)
	wantStatus(t, "get of what is deleted", err, 404)
	var calls []string
	for _, call := range s.Calls() {
		if strings.HasPrefix(call, "certificates.") {
			calls = append(calls, strings.TrimPrefix(call, "certificates."))
		}
	}
	if want := "[createOrUpdate generateVerificationCode verify get verify list delete delete delete get]"; fmt.Sprint(calls) != want {
		t.Errorf("calls %v", calls)
	}
}

func TestProofRefusals(t *testing.T) {
	c := newClock()
	s := startSim(t, func(cfg *Config) { cfg.Now = c.now })
	client := s.certificates(t)
	ca, other := newArmCA(t, "Root"), newArmCA(t, "Root") // the same name, another key
	up, err := client.CreateOrUpdate(ctx, inGroup, ofDPS, "root", arms.CertificateResponse{Properties: &arms.CertificateProperties{Certificate: ca.cert.Raw}}, nil)
	wantStatus(t, "upload", err, 0)
	verify := func(etag string, proof []byte) error {
		text := base64Of(proof)
		_, err := client.VerifyCertificate(ctx, "root", etag, inGroup, ofDPS, arms.VerificationCodeRequest{Certificate: &text}, nil)
		return err
	}
	wantStatus(t, "proof without a code", verify(*up.Etag, ca.proof(t, "")), 400)
	first, err := client.GenerateVerificationCode(ctx, "root", *up.Etag, inGroup, ofDPS, nil)
	wantStatus(t, "code", err, 0)
	etag := func() string {
		got, err := client.Get(ctx, "root", inGroup, ofDPS, nil)
		wantStatus(t, "get", err, 0)
		return *got.Etag
	}
	second, err := client.GenerateVerificationCode(ctx, "root", etag(), inGroup, ofDPS, nil)
	wantStatus(t, "second code", err, 0)
	code := *second.Properties.VerificationCode
	for name, proof := range map[string][]byte{
		"another CA": other.proof(t, code),
		"older code": ca.proof(t, *first.Properties.VerificationCode),
		"lower case": ca.proof(t, strings.ToLower(code)),
		"expired":    ca.proof(t, code, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		"of tomorrow": ca.proof(t, code, func(c *x509.Certificate) {
			c.NotBefore = time.Now().Add(time.Hour)
			c.NotAfter = time.Now().Add(2 * time.Hour)
		}),
		"the CA's own": ca.cert.Raw,
		"garbage":      []byte("garbage"),
		"nothing":      nil,
	} {
		wantStatus(t, name, verify(etag(), proof), 400)
	}
	wantStatus(t, "no etag", verify("", ca.proof(t, code)), 412)
	wantStatus(t, "code without an etag", func() error {
		_, err := client.GenerateVerificationCode(ctx, "root", "", inGroup, ofDPS, nil)
		return err
	}(), 412)
	if strings.Contains(string(s.State()), `"verified": true`) {
		t.Fatal("a wrong proof verified the CA")
	}
	wantStatus(t, "the right proof", verify(etag(), ca.proof(t, code)), 0)
	wantStatus(t, "the right proof again", verify(etag(), ca.proof(t, code)), 400)
	// Nothing but the CA's name on a certificate of another key.
	wantStatus(t, "a name that is not there", func() error {
		text := base64Of(ca.proof(t, code))
		_, err := client.VerifyCertificate(ctx, "nobody", "x", inGroup, ofDPS, arms.VerificationCodeRequest{Certificate: &text}, nil)
		return err
	}(), 404)
}

func TestUploads(t *testing.T) {
	s := startSim(t)
	client := s.certificates(t)
	ca := newArmCA(t, "Root")
	put := func(name, etag string, content []byte, verified bool) (string, error) {
		options := &arms.DpsCertificateClientCreateOrUpdateOptions{}
		if etag != "" {
			options.IfMatch = &etag
		}
		up, err := client.CreateOrUpdate(ctx, inGroup, ofDPS, name, arms.CertificateResponse{
			Properties: &arms.CertificateProperties{Certificate: content, IsVerified: &verified},
		}, options)
		if err != nil {
			return "", err
		}
		return *up.Etag, nil
	}
	etag, err := put("root", "ignored-at-creation", pemOf(ca.cert), false)
	wantStatus(t, "PEM", err, 0)
	_, err = put("root", "", ca.cert.Raw, false)
	wantStatus(t, "an update without If-Match", err, 412)
	_, err = put("root", "AAAAAAAAAAA=", ca.cert.Raw, false)
	wantStatus(t, "an update with another etag", err, 412)
	_, err = put("ROOT", etag, ca.cert.Raw, true)
	wantStatus(t, "an update in other letters, self-attested", err, 0)
	if state := string(s.State()); strings.Count(state, `"sha256"`) != 1 || !strings.Contains(state, `"verified": true`) {
		t.Errorf("state %s", state)
	}
	// Another certificate under that name is not verified by what was before.
	got, err := client.Get(ctx, "root", inGroup, ofDPS, nil)
	wantStatus(t, "get", err, 0)
	_, err = put("root", *got.Etag, newArmCA(t, "Other").cert.Raw, false)
	wantStatus(t, "another certificate", err, 0)
	if state := string(s.State()); strings.Contains(state, `"verified": true`) {
		t.Errorf("state %s", state)
	}
	leaf := newArmCA(t, "leaf", func(c *x509.Certificate) { c.IsCA = false; c.KeyUsage = x509.KeyUsageDigitalSignature })
	expired := newArmCA(t, "old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	for name, content := range map[string][]byte{
		"no CA": leaf.cert.Raw, "expired": expired.cert.Raw, "two": append(pemOf(ca.cert), pemOf(leaf.cert)...),
		"a key": []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "garbage": []byte("x"), "empty": nil,
		"trailing": append(bytes.Clone(ca.cert.Raw), 0),
	} {
		_, err := put("x", "", content, false)
		wantStatus(t, name, err, 400)
	}
	for _, name := range []string{"a b", "a/b", strings.Repeat("a", 257), "ä"} {
		_, err := put(name, "", ca.cert.Raw, false)
		wantStatus(t, name, err, 400)
	}
	for i := 1; i < maxCertificates; i++ {
		_, err := put(fmt.Sprintf("root-%d", i), "", ca.cert.Raw, false)
		wantStatus(t, "one more", err, 0)
	}
	_, err = put("one-too-many", "", ca.cert.Raw, false)
	wantStatus(t, "more than 25", err, 400)
	if events := s.eventsOf(t, "certificate.refused"); len(events) == 0 || events[0].Details["vendorText"] != "unknown" {
		t.Errorf("events %+v", events)
	}
}

// What clients that write JSON by hand send: base64 of DER, base64 of PEM, and PEM.
func TestUploadForms(t *testing.T) {
	s := startSim(t)
	token := s.getToken(t, armScope)
	ca := newArmCA(t, "Root")
	at := func(name string) string {
		return "https://management.azure.com" + s.serviceID() + "/certificates/" + name + "?api-version=2022-02-05"
	}
	quote := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, text := range map[string]string{"der": base64Of(ca.cert.Raw), "pem-in-base64": base64Of(pemOf(ca.cert)), "pem": string(pemOf(ca.cert))} {
		status, _, body := s.call(t, "PUT", at(name), `{"properties":{"certificate":`+quote(text)+`},"new":1}`, "Authorization", "Bearer "+token)
		if status != 200 || parseJSON(t, body)["properties"].(map[string]any)["certificate"] != base64Of(ca.cert.Raw) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	for _, body := range []string{``, `{}`, `[]`, `{"properties":{}}`, `{"properties":{"certificate":1}}`, `{"properties":{"certificate":"AAAA"}} {}`, `{"properties":{"certificate":"` + strings.Repeat("A", maxBody) + `"}}`} {
		if status, _, answer := s.call(t, "PUT", at("x"), body, "Authorization", "Bearer "+token); status != 400 && status != 413 {
			t.Errorf("%.60q: %d %s", body, status, answer)
		}
	}
}

func TestService(t *testing.T) {
	s := startSim(t)
	options := &arm.ClientOptions{ClientOptions: s.options(t), DisableRPRegistration: true}
	c, err := arms.NewIotDpsResourceClient(s.Config().SubscriptionID, s.credential(t), options)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Get(ctx, ofDPS, inGroup, nil)
	wantStatus(t, "service", err, 0)
	if p := got.Properties; *p.IDScope != s.Config().IDScope || *p.ServiceOperationsHostName != s.Config().serviceHost() || len(p.IotHubs) != 1 {
		t.Errorf("service %+v", p)
	}
	pager := c.NewListKeysPager(ofDPS, inGroup, nil)
	page, err := pager.NextPage(ctx)
	wantStatus(t, "keys", err, 0)
	if pager.More() || len(page.Value) != 1 || *page.Value[0].KeyName != ownerPolicy || *page.Value[0].PrimaryKey != s.Config().Keys[ownerPolicy] {
		t.Errorf("keys %+v", page.Value)
	}
	key, err := c.ListKeysForKeyName(ctx, ofDPS, ownerPolicy, inGroup, nil)
	wantStatus(t, "key", err, 0)
	if *key.PrimaryKey != s.Config().Keys[ownerPolicy] {
		t.Errorf("key %+v", key)
	}
	_, err = c.ListKeysForKeyName(ctx, ofDPS, hubPolicy, inGroup, nil)
	wantStatus(t, "a hub's key", err, 404)
	_, err = c.Get(ctx, "other-dps", inGroup, nil)
	if failed := wantStatus(t, "another service", err, 404); failed.ErrorCode != "ResourceNotFound" {
		t.Errorf("%v", failed)
	}
	_, err = c.Get(ctx, ofDPS, "other", nil)
	if failed := wantStatus(t, "another group", err, 404); failed.ErrorCode != "ResourceGroupNotFound" {
		t.Errorf("%v", failed)
	}
	c, err = arms.NewIotDpsResourceClient("00000000-0000-4000-8000-000000000bad", s.credential(t), options)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Get(ctx, ofDPS, inGroup, nil)
	if failed := wantStatus(t, "another subscription", err, 404); failed.ErrorCode != "SubscriptionNotFound" {
		t.Errorf("%v", failed)
	}
}

func TestARMRefusals(t *testing.T) {
	s := startSim(t)
	token := "Bearer " + s.getToken(t, armScope)
	base := "https://management.azure.com" + s.serviceID()
	for _, tt := range []struct {
		method, url, authorization string
		status                     int
		code                       string
	}{
		{"GET", base + "?api-version=2022-02-05", "", 401, "AuthenticationFailed"},
		{"GET", base + "?api-version=2022-02-05", "Bearer x", 401, "InvalidAuthenticationToken"},
		{"GET", base + "?api-version=2022-02-05", "Basic x", 401, "InvalidAuthenticationToken"},
		{"GET", base + "?api-version=2022-02-05", "Bearer " + s.getToken(t, dpsScope), 401, "InvalidAuthenticationTokenAudience"},
		{"GET", base, token, 400, "MissingApiVersionParameter"},
		{"GET", base + "?api-version=2099-01-01", token, 400, "NoRegisteredProviderFound"},
		{"GET", base + "/linkedHubs?api-version=2022-02-05", token, 405, "SimulatorNotImplemented"},
		{"PATCH", base + "?api-version=2022-02-05", token, 405, "SimulatorNotImplemented"},
		{"GET", "https://management.azure.com/subscriptions?api-version=2022-02-05", token, 404, "SimulatorNotImplemented"},
		{"GET", strings.Replace(base, "Devices", "Storage", 1) + "?api-version=2022-02-05", token, 404, "SimulatorNotImplemented"},
		{"GET", base + "//certificates?api-version=2022-02-05", token, 400, "InvalidResourcePath"},
		{"GET", strings.ToUpper(base[len("https://management.azure.com"):]), token, 0, ""},
	} {
		if tt.status == 0 { // names of resources count without regard to case
			tt.url, tt.status, tt.code = "https://management.azure.com"+tt.url+"/CERTIFICATES?api-version=2022-02-05", 200, "value"
		}
		status, _, body := s.call(t, tt.method, tt.url, "", "Authorization", tt.authorization)
		if status != tt.status || !strings.Contains(body, tt.code) {
			t.Errorf("%s %s: %d %s", tt.method, tt.url, status, body)
		}
	}
	if calls := s.Calls(); strings.Count(fmt.Sprint(calls), "service.") != 0 {
		t.Errorf("a refused call counts: %v", calls)
	}
}

// FuzzARMBody reads the bodies of the resource manager.
func FuzzARMBody(f *testing.F) {
	ca := newArmCA(f, "Root")
	f.Add([]byte(`{"properties":{"certificate":"` + base64Of(ca.cert.Raw) + `","isVerified":true}}`))
	f.Add([]byte(`{"certificate":"` + base64Of(pemOf(ca.cert)) + `"}`))
	f.Add([]byte(`{"certificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		cert, verified, err := parseUpload(body)
		if (err == nil) != (cert != nil) || err != nil && verified && cert != nil {
			t.Fatalf("%v %v", cert, err)
		}
		if cert != nil {
			again, err := parseARMCertificate(base64Of(cert.Raw))
			if err != nil || !again.Equal(cert) {
				t.Fatalf("%v: %v", again, err)
			}
		}
		if proof, err := parseProof(body); (err == nil) != (proof != nil) {
			t.Fatalf("%v %v", proof, err)
		}
	})
}

// FuzzPath finds operations in paths.
func FuzzPath(f *testing.F) {
	f.Add("GET", "/certificates/a%20b")
	f.Add("POST", "/certificates/a/verify")
	f.Add("POST", "/keys/provisioningserviceowner/listkeys")
	f.Add("GET", "/%zz")
	f.Add("GET", "//")
	f.Fuzz(func(t *testing.T, method, path string) {
		parts, err := splitPath(path)
		if err != nil {
			return
		}
		for _, p := range parts {
			if p == "" {
				t.Fatalf("%q has an empty part: %q", path, parts)
			}
		}
		if c := armOperation(method, parts); c != nil && (c.op == "" || c.run == nil || strings.HasPrefix(c.op, "certificates.") && c.op != "certificates.list" && c.name == "") {
			t.Fatalf("%q: %+v", path, c)
		}
		devicePath(path)
	})
}
