package dpssim

import (
	"strings"
	"testing"

	arms "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/deviceprovisioningservices/armdeviceprovisioningservices"
)

// Two runs that did the same with the same keys ended alike, whatever is random in them and
// whatever went wrong on the way; one that did less did not.
func TestState(t *testing.T) {
	ca := newArmCA(t, "Root")
	run := func(t *testing.T, s *Sim, verify bool) string {
		t.Helper()
		client := s.certificates(t)
		_, err := client.CreateOrUpdate(ctx, inGroup, ofDPS, "root", arms.CertificateResponse{Properties: &arms.CertificateProperties{Certificate: ca.cert.Raw}}, nil)
		wantStatus(t, "upload", err, 0)
		etag := func() string {
			got, err := client.Get(ctx, "root", inGroup, ofDPS, nil)
			wantStatus(t, "get", err, 0)
			return *got.Etag
		}
		code, err := client.GenerateVerificationCode(ctx, "root", etag(), inGroup, ofDPS, nil)
		wantStatus(t, "code", err, 0)
		if verify {
			proof := base64Of(ca.proof(t, *code.Properties.VerificationCode))
			_, err = client.VerifyCertificate(ctx, "root", etag(), inGroup, ofDPS, arms.VerificationCodeRequest{Certificate: &proof}, nil)
			wantStatus(t, "proof", err, 0)
		}
		if status, _, body := s.put(t, "press-1"); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		if strings.Contains(string(s.State()), *code.Properties.VerificationCode) {
			t.Error("the state has the code, which is random")
		}
		return string(s.State())
	}
	first := run(t, startSim(t), true)
	second := startSim(t)
	if status, _, _ := second.put(t, "gone"); status != 200 {
		t.Fatal(status)
	}
	host := second.Config().Hubs[0]
	if status, _, body := second.call(t, "DELETE", "https://"+host+"/devices/gone?api-version=2021-04-12", "", "Authorization", second.sas(t, host), "If-Match", "*"); status != 204 {
		t.Fatalf("%d %s", status, body)
	}
	if again := run(t, second, true); again != first {
		t.Errorf("the state is\n%s\nand was\n%s", again, first)
	}
	if less := run(t, startSim(t), false); less == first {
		t.Errorf("a CA that is not verified makes no difference:\n%s", less)
	}
}
