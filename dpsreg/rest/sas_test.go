package rest

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

var sasKey = []byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\xfb\xff")

func newSAS(t *testing.T, now func() time.Time) *SAS {
	t.Helper()
	s, err := NewSAS("Factory.Azure-Devices-Provisioning.net", "provisioning service+owner", base64.StdEncoding.EncodeToString(sasKey)+"\n", now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSASByOpenSSL compares the signature with one that openssl computes.
func TestSASByOpenSSL(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	token, err := newSAS(t, func() time.Time { return now }).Header(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	file := pkitest.WriteFile(t, "signed", []byte(fmt.Sprintf("factory.azure-devices-provisioning.net\n%d", now.Add(sasLifetime).Unix())))
	out := pkitest.OpenSSL(t, "dgst", "-sha256", "-mac", "HMAC", "-macopt", "hexkey:"+hex.EncodeToString(sasKey), file)
	_, sum, _ := strings.Cut(strings.TrimSpace(out), "= ")
	mac, err := hex.DecodeString(sum)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("SharedAccessSignature sr=factory.azure-devices-provisioning.net&sig=%s&se=%d&skn=provisioning%%20service%%2Bowner",
		url.QueryEscape(base64.StdEncoding.EncodeToString(mac)), now.Add(sasLifetime).Unix())
	if token != want {
		t.Errorf("token\n%s\nwant\n%s", token, want)
	}
}

// TestSASByVendor compares tokens with what the vendor's own client printed:
// SharedAccessSignature.create of azure-iot-common 1.13.3 for Node.
func TestSASByVendor(t *testing.T) {
	for _, test := range []struct {
		host, policy string
		expiry       int64
		token        string
	}{
		{"factory.azure-devices-provisioning.net", "owner", 1790000600, "SharedAccessSignature sr=factory.azure-devices-provisioning.net&sig=Q%2B7uS4BBlgFAEEzkdZ51Hc1NcA%2BOlXjWBdlwnjJZM%2FQ%3D&skn=owner&se=1790000600"},
		{"hub-1.azure-devices.net", "iothubowner", 1790000600, "SharedAccessSignature sr=hub-1.azure-devices.net&sig=QOV3%2BEivzGyGhdKgDuOs9aeocVT3NqlyqaKGueux%2B38%3D&skn=iothubowner&se=1790000600"},
		{"hub-1.azure-devices.net", "iothubowner", 1790000601, "SharedAccessSignature sr=hub-1.azure-devices.net&sig=MVbUmejNkl%2B3LWCbvqccnZaenPxLGdrY69vq4AraZG8%3D&skn=iothubowner&se=1790000601"},
	} {
		s, err := NewSAS(test.host, test.policy, base64.StdEncoding.EncodeToString(sasKey), func() time.Time {
			return time.Unix(test.expiry, 0).Add(-sasLifetime)
		})
		if err != nil {
			t.Fatal(err)
		}
		token, err := s.Header(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// The order of the fields is another, which does not matter.
		if got, want := fields(token), fields(test.token); got != want {
			t.Errorf("token\n%s\nthe vendor's\n%s", got, want)
		}
	}
}

func fields(token string) string {
	kind, rest, _ := strings.Cut(token, " ")
	values, err := url.ParseQuery(rest)
	if err != nil {
		return err.Error()
	}
	return kind + " " + values.Encode()
}

func TestSASRenewal(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	s := newSAS(t, func() time.Time { return now })
	token := func() string {
		text, err := s.Header(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	first := token()
	now = now.Add(sasLifetime/2 - time.Second)
	if token() != first {
		t.Error("a fresh token was made again")
	}
	now = now.Add(time.Second)
	second := token()
	if second == first {
		t.Error("a token was used beyond half of its life")
	}
	now = now.Add(-24 * time.Hour)
	if token() == second {
		t.Error("a token that is good for a day was used after the clock was set back")
	}
}

func TestSASRefused(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(sasKey)
	for name, in := range map[string][3]string{
		"no host":        {"", "owner", good},
		"a URL":          {"https://x.net/", "owner", good},
		"no policy":      {"x.net", "", good},
		"no base64":      {"x.net", "owner", "not-a-key-not-a-key!"},
		"a short key":    {"x.net", "owner", "c2hvcnQ="},
		"an empty key":   {"x.net", "owner", ""},
		"something else": {"x.net", "owner", "HostName=x.net;SharedAccessKey=" + good},
	} {
		if _, err := NewSAS(in[0], in[1], in[2], nil); err == nil {
			t.Errorf("%s: no error", name)
		} else if in[2] != "" && strings.Contains(err.Error(), in[2]) {
			t.Errorf("%s: the key is in the error: %v", name, err)
		}
	}
}

// TestSASPrinted: nothing that prints it shows the key.
func TestSASPrinted(t *testing.T) {
	s := newSAS(t, nil)
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s)} {
		if strings.Contains(text, "0123") || strings.Contains(text, "48, 49") || strings.Contains(text, "48 49") {
			t.Errorf("printed as %s", text)
		}
	}
}
