package dpssim

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// options makes the vendor's clients connect to the simulator, without retries so that
// faults show.
func (s *Sim) options(t testing.TB) policy.ClientOptions {
	return policy.ClientOptions{
		Transport: s.client(t), Retry: policy.RetryOptions{MaxRetries: -1}, Telemetry: policy.TelemetryOptions{Disabled: true},
	}
}

// credential is the vendor's own, unchanged; change may spoil what it knows.
func (s *Sim) credential(t testing.TB, change ...func(*Config)) azcore.TokenCredential {
	t.Helper()
	cfg := s.Config()
	for _, f := range change {
		f(&cfg)
	}
	c, err := azidentity.NewClientSecretCredential(cfg.TenantID, cfg.ClientID, cfg.ClientSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: s.options(t)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// token gets an access token.
func (s *Sim) getToken(t testing.TB, scope string) string {
	t.Helper()
	token, err := s.credential(t).GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{scope}})
	if err != nil {
		t.Fatal(err)
	}
	return token.Token
}

const (
	armScope = "https://management.azure.com/.default"
	dpsScope = "https://azure-devices-provisioning.net/.default"
	hubScope = "https://iothubs.azure.net/.default"
)

// Each token is good at its own service and nowhere else.
func TestAudiences(t *testing.T) {
	s := startSim(t)
	cfg := s.Config()
	urls := map[string]string{
		armScope: "https://management.azure.com" + s.serviceID() + "?api-version=2022-02-05",
		dpsScope: "https://" + cfg.serviceHost() + "/enrollments/nobody?api-version=2021-10-01",
		hubScope: "https://" + cfg.Hubs[0] + "/devices/nobody?api-version=2021-04-12",
	}
	for scope := range urls {
		token := s.getToken(t, scope)
		for other, url := range urls {
			status, _, body := s.call(t, "GET", url, "", "Authorization", "Bearer "+token)
			if (status == 401) != (scope != other) {
				t.Errorf("a token for %s at %s: %d %s", scope, url, status, body)
			}
		}
	}
	// The Go SDK names the resource manager of the public cloud differently.
	token := s.getToken(t, "https://management.core.windows.net//.default")
	if status, _, body := s.call(t, "GET", urls[armScope], "", "Authorization", "Bearer "+token); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func TestTokensExpire(t *testing.T) {
	c := newClock()
	s := startSim(t, func(cfg *Config) { cfg.Now = c.now })
	token := s.getToken(t, armScope)
	url := "https://management.azure.com" + s.serviceID() + "?api-version=2022-02-05"
	c.move(tokenLife - time.Second)
	if status, _, body := s.call(t, "GET", url, "", "Authorization", "Bearer "+token); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	c.move(time.Second)
	status, header, body := s.call(t, "GET", url, "", "Authorization", "Bearer "+token)
	if status != 401 || !strings.Contains(body, "ExpiredAuthenticationToken") || !strings.HasPrefix(header.Get("WWW-Authenticate"), "Bearer ") {
		t.Errorf("%d %s", status, body)
	}
}

// A token outlives the simulator, but not its secret.
func TestTokensAndSecrets(t *testing.T) {
	s := startSim(t)
	token := s.getToken(t, hubScope)
	for name, tt := range map[string]struct {
		secret string
		ok     bool
	}{"the same secret": {s.Config().ClientSecret, true}, "another secret": {"another", false}} {
		again := startSim(t, func(c *Config) { c.ClientSecret = tt.secret })
		if err := again.tokens.verify(token, []string{hubAudience}); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, bad := range map[string]string{
		"cut": token[:len(token)-1], "longer": token + "A", "no mac": strings.SplitN(token, ".", 2)[0], "empty": "", "stop": ".",
		"other payload": "A" + token, "too long": strings.Repeat("A", maxToken) + "." + s.tokens.mac(strings.Repeat("A", maxToken)),
		"no JSON": "AAAA." + s.tokens.mac("AAAA"), "no base64": "%." + s.tokens.mac("%"),
	} {
		if err := s.tokens.verify(bad, []string{hubAudience}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestNoToken(t *testing.T) {
	s := startSim(t)
	for code, change := range map[string]func(*Config){
		"AADSTS7000215": func(c *Config) { c.ClientSecret = "wrong" },
		"AADSTS700016":  func(c *Config) { c.ClientID = "00000000-0000-4000-8000-000000000bad" },
		"AADSTS90002":   func(c *Config) { c.TenantID = "00000000-0000-4000-8000-000000000bad" },
	} {
		_, err := s.credential(t, change).GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{armScope}})
		if err == nil || !strings.Contains(err.Error(), code) {
			t.Errorf("want %s, got %v", code, err)
		}
	}
	_, err := s.credential(t).GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
	if err == nil || !strings.Contains(err.Error(), "AADSTS500011") {
		t.Errorf("a service that is not there: %v", err)
	}
	for _, e := range s.events.list(url.Values{}) {
		if strings.Contains(e.Message, s.Config().ClientSecret) {
			t.Errorf("the secret is in an event: %+v", e)
		}
	}
}

func TestTokenRequests(t *testing.T) {
	s := startSim(t)
	cfg := s.Config()
	good := url.Values{"grant_type": {"client_credentials"}, "client_id": {cfg.ClientID}, "client_secret": {cfg.ClientSecret}, "scope": {armScope}}
	with := func(name string, values ...string) string {
		out := url.Values{}
		for k, v := range good {
			out[k] = v
		}
		out[name] = values
		return out.Encode()
	}
	form := "application/x-www-form-urlencoded"
	at := "https://login.microsoftonline.com/" + cfg.TenantID + "/oauth2/v2.0/token"
	for name, tt := range map[string]struct {
		kind, body string
		status     int
		want       string
	}{
		"good":            {form, good.Encode(), 200, `"token_type":"Bearer"`},
		"with charset":    {form + "; charset=utf-8", good.Encode(), 200, `"expires_in":3600`},
		"openid scopes":   {form, with("scope", armScope+" openid offline_access profile"), 200, "access_token"},
		"json":            {"application/json", "{}", 400, "AADSTS900144"},
		"no form":         {form, "%zz", 400, "AADSTS900144"},
		"no grant":        {form, with("grant_type"), 400, "'grant_type'"},
		"password grant":  {form, with("grant_type", "password"), 400, "AADSTS70003"},
		"twice":           {form, with("scope", armScope, armScope), 400, "AADSTS90055"},
		"no client":       {form, with("client_id"), 400, "'client_id'"},
		"no secret":       {form, with("client_secret"), 401, "AADSTS7000216"},
		"no scope":        {form, with("scope"), 400, "'scope'"},
		"scope of a user": {form, with("scope", "https://management.azure.com/user_impersonation"), 400, "AADSTS1002012"},
		"two scopes":      {form, with("scope", armScope+" "+dpsScope), 400, "AADSTS1002012"},
		"secret and more": {form, with("client_assertion", "a.b.c"), 401, "AADSTS7000216"},
		"openid alone":    {form, with("scope", "openid"), 400, "AADSTS70011"},
		"too long":        {form, with("scope", strings.Repeat("a", maxBody)), 413, "request body too large"},
	} {
		status, header, body := s.call(t, "POST", at, tt.body, "Content-Type", tt.kind)
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s", name, status, body)
		}
		if status == 200 && header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be cached", name)
		}
		if strings.Contains(body, cfg.ClientSecret) {
			t.Errorf("%s: the answer has the secret", name)
		}
	}
	if status, _, _ := s.call(t, "GET", at, ""); status != 405 {
		t.Errorf("GET of the token endpoint: %d", status)
	}
}

func FuzzAccessToken(f *testing.F) {
	now := func() time.Time { return time.Unix(0, 0) }
	m := newTokens(Config{TenantID: "a", ClientSecret: "b", TokenTime: now})
	other := newTokens(Config{TenantID: "a", ClientSecret: "c", TokenTime: now})
	good, err := m.issue(dpsAudience)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("a.b")
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		if other.verify(token, []string{dpsAudience}) == nil || m.verify(token, []string{hubAudience}) == nil ||
			m.verify(token+"A", []string{dpsAudience}) == nil {
			t.Fatalf("%q is believed", token)
		}
	})
}

func FuzzTokenRequest(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", "grant_type=client_credentials&client_id=a&client_secret=b&scope=https%3A%2F%2Fmanagement.azure.com%2F.default")
	f.Add("application/x-www-form-urlencoded", "grant_type=client_credentials&client_id=a&client_secret=b&scope=openid")
	f.Add("application/json", "{}")
	f.Add("application/x-www-form-urlencoded", "scope=a&scope=b")
	f.Fuzz(func(t *testing.T, kind, body string) {
		got, refusal := parseToken(kind, []byte(body))
		if (refusal == nil) == (got.clientID == "" || (got.secret == "") == (got.assertion == nil) || got.audience == "") {
			t.Fatalf("%+v and %+v", got, refusal)
		}
		if refusal != nil && (refusal.status < 400 || refusal.code == 0 || got != tokenRequest{}) {
			t.Fatalf("%+v and %+v", got, refusal)
		}
	})
}
