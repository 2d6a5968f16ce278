package dpssim

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sign makes a shared access signature with openssl: somebody else's HMAC.
func sign(t testing.TB, resource string, expiry int64, policy, key string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	sr := url.QueryEscape(resource)
	cmd := exec.Command(tool(t, "openssl"), "dgst", "-sha256", "-mac", "HMAC", "-macopt", "hexkey:"+hex.EncodeToString(raw), "-binary")
	cmd.Stdin = strings.NewReader(sr + "\n" + strconv.FormatInt(expiry, 10))
	sig, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%d&skn=%s", sr, url.QueryEscape(base64.StdEncoding.EncodeToString(sig)), expiry, policy)
}

func TestSAS(t *testing.T) {
	now := time.Unix(1700000000, 0)
	const host = "mintmark-dps.azure-devices-provisioning.net"
	keys := map[string]string{ownerPolicy: base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 64)))}
	later := now.Add(time.Minute).Unix()
	good := sign(t, host, later, ownerPolicy, keys[ownerPolicy])
	if err := verifySAS(good, host, keys, now); err != nil {
		t.Fatal(err)
	}
	other := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("o", 64)))
	for name, tt := range map[string]struct{ header, want string }{
		"expired":         {sign(t, host, now.Unix(), ownerPolicy, keys[ownerPolicy]), "expired"},
		"other key":       {sign(t, host, later, ownerPolicy, other), "not of this policy's key"},
		"other host":      {sign(t, "other.azure-devices-provisioning.net", later, ownerPolicy, keys[ownerPolicy]), "is for"},
		"below the host":  {sign(t, host+"/enrollments", later, ownerPolicy, keys[ownerPolicy]), "is for"},
		"upper case":      {sign(t, strings.ToUpper(host), later, ownerPolicy, keys[ownerPolicy]), "is for"},
		"policy":          {sign(t, host, later, "nobody", keys[ownerPolicy]), "no shared access policy"},
		"later expiry":    {strings.Replace(good, "se=1", "se=2", 1), "not of this policy's key"},
		"bearer":          {"Bearer abc", "no SharedAccessSignature"},
		"empty":           {"SharedAccessSignature ", "not name=value"},
		"no sig":          {"SharedAccessSignature sr=a&se=1&skn=b", "no field sig"},
		"twice":           {good + "&se=1", "twice"},
		"unknown":         {good + "&x=1", "unknown field"},
		"sig too short":   {"SharedAccessSignature sr=a&sig=AAAA&se=1&skn=b", "32 bytes"},
		"sig no base64":   {"SharedAccessSignature sr=a&sig=%%&se=1&skn=b", "sig"},
		"expiry no time":  {"SharedAccessSignature sr=a&sig=" + strings.Repeat("A", 43) + "%3D&se=soon&skn=b", "not a time"},
		"expiry negative": {"SharedAccessSignature sr=a&sig=" + strings.Repeat("A", 43) + "%3D&se=-1&skn=b", "not a time"},
		"sr not encoded":  {"SharedAccessSignature sr=%zz&sig=" + strings.Repeat("A", 43) + "%3D&se=1&skn=b", "sr"},
		"skn not encoded": {"SharedAccessSignature sr=a&sig=" + strings.Repeat("A", 43) + "%3D&se=1&skn=%zz", "skn"},
		"too long":        {"SharedAccessSignature sr=" + strings.Repeat("a", maxSAS), "more than"},
	} {
		err := verifySAS(tt.header, host, keys, now)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "sig=") {
			t.Errorf("%s: the text has the signature: %v", name, err)
		}
	}
}

// The policies of the service are not those of the hubs.
func TestPolicies(t *testing.T) {
	s := startSim(t, func(c *Config) {
		c.Keys = map[string]string{"both": base64.StdEncoding.EncodeToString([]byte(strings.Repeat("b", 32)))}
	})
	cfg := s.Config()
	later := time.Now().Add(time.Minute).Unix()
	for _, tt := range []struct {
		host, path, policy string
		ok                 bool
	}{
		{cfg.serviceHost(), "/enrollments/nobody?api-version=2021-10-01", ownerPolicy, true},
		{cfg.serviceHost(), "/enrollments/nobody?api-version=2021-10-01", hubPolicy, false},
		{cfg.serviceHost(), "/enrollments/nobody?api-version=2021-10-01", "both", true},
		{cfg.Hubs[0], "/devices/nobody?api-version=2021-04-12", hubPolicy, true},
		{cfg.Hubs[0], "/devices/nobody?api-version=2021-04-12", ownerPolicy, false},
		{cfg.Hubs[0], "/devices/nobody?api-version=2021-04-12", "both", true},
	} {
		status, _, body := s.call(t, "GET", "https://"+tt.host+tt.path, "", "Authorization", sign(t, tt.host, later, tt.policy, cfg.Keys[tt.policy]))
		if (status == 404) != tt.ok || (status == 401) == tt.ok {
			t.Errorf("%s at %s: %d %s", tt.policy, tt.host, status, body)
		}
	}
	if events := s.eventsOf(t, "call.unauthorized"); len(events) != 2 || !strings.Contains(events[0].Message, "no shared access policy") {
		t.Errorf("events %+v", events)
	}
	status, _, body := s.call(t, "GET", "https://management.azure.com"+s.serviceID()+"?api-version=2022-02-05", "",
		"Authorization", sign(t, managementHost, later, ownerPolicy, cfg.Keys[ownerPolicy]))
	if status != 401 {
		t.Errorf("a shared access signature at the resource manager: %d %s", status, body)
	}
}

func FuzzSAS(f *testing.F) {
	f.Add("SharedAccessSignature sr=a&sig=" + strings.Repeat("A", 43) + "%3D&se=1&skn=b")
	f.Add("SharedAccessSignature sr=a&sig=&se=1&skn=b")
	f.Add("SharedAccessSignature ")
	f.Add("Bearer a")
	keys := map[string]string{"b": base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))}
	f.Fuzz(func(t *testing.T, header string) {
		token, err := parseSAS(header)
		if err == nil && (token.resource == "" || len(token.sig) != 32 || token.expiry < 0 || len(header) > maxSAS) {
			t.Fatalf("%q is read as %+v", header, token)
		}
		if verifySAS(header, "a", keys, time.Unix(0, 0)) == nil {
			t.Fatalf("%q is believed", header)
		}
	})
}
