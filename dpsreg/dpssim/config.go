package dpssim

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"mintmark/internal/pattern"
)

// Config says what is simulated. The zero value of a field is what withDefaults says.
type Config struct {
	Listen string // address of HTTPS: Entra, ARM, data plane, device API, hubs; "127.0.0.1:0"
	MQTT   string // address of MQTT over TLS; "127.0.0.1:0"
	// AllowRemote allows addresses that other machines reach.
	AllowRemote bool

	TenantID     string
	ClientID     string
	ClientSecret string // made at start if empty
	// ClientCertificate is another credential of the application: with RSA key, nil for none.
	ClientCertificate *x509.Certificate
	SubscriptionID    string
	ResourceGroup     string
	Service           string   // name of the DPS instance
	IDScope           string   // "0ne" and 8 hex digits, made from Service if empty
	Hubs              []string // host names of linked hubs; one if nil
	// Keys are the shared access policies of the service and of the hubs, base64 by
	// name; "provisioningserviceowner" and "iothubowner" are made at start if absent.
	Keys map[string]string

	// StateDir gets what clients need to reach the simulator; empty for nothing. Secrets
	// and trust anchor that an earlier run left there are used again, so that a client's
	// configuration stays good, and a client that runs goes on.
	StateDir string
	Limits   *Limits // nil for none
	// Assigning is how many polls of a registration answer "assigning"; 1 if zero,
	// none if negative.
	Assigning int
	// RetryAfter is what devices and callers are told to wait, in seconds; 3 if zero.
	RetryAfter int

	Now func() time.Time
	// TokenTime is the clock of Entra's access tokens, where it is another than Now: the
	// libraries that keep tokens go by that of their machine, also in a drill that lets
	// years pass.
	TokenTime func() time.Time
	Logger    *slog.Logger
	// ListenFunc replaces net.Listen.
	ListenFunc func(network, address string) (net.Listener, error)
}

// Limits are the rates of a service: https://learn.microsoft.com/azure/iot-dps/about-iot-dps
type Limits struct {
	Operations    int // a minute; 1000 if zero
	Registrations int // a minute; 1000 if zero
	Polls         int // in 10 s, a device; 5 if zero
}

// The policies that Azure makes with a service and with a hub.
const (
	ownerPolicy = "provisioningserviceowner"
	hubPolicy   = "iothubowner"
)

// withDefaults fills the configuration. It makes no files.
func (c Config) withDefaults() (Config, error) {
	for field, value := range map[*string]string{
		&c.Listen:         "127.0.0.1:0",
		&c.MQTT:           "127.0.0.1:0",
		&c.TenantID:       "00000000-0000-4000-8000-00000000000a",
		&c.ClientID:       "00000000-0000-4000-8000-00000000000b",
		&c.SubscriptionID: "00000000-0000-4000-8000-00000000000c",
		&c.ResourceGroup:  "factory",
		&c.Service:        "mintmark-dps",
	} {
		if *field == "" {
			*field = value
		}
	}
	if c.ClientSecret == "" {
		c.ClientSecret = rand.Text() + rand.Text()
	}
	if c.IDScope == "" {
		sum := sha256.Sum256([]byte(c.Service))
		c.IDScope = "0ne" + strings.ToUpper(hex.EncodeToString(sum[:4]))
	}
	if c.Hubs == nil {
		c.Hubs = []string{"mintmark-hub.azure-devices.net"}
	}
	c.Hubs = slices.Clone(c.Hubs)
	c.Keys = maps.Clone(c.Keys)
	if c.Keys == nil {
		c.Keys = map[string]string{}
	}
	for _, policy := range []string{ownerPolicy, hubPolicy} {
		if c.Keys[policy] == "" {
			key := make([]byte, 64) // as long as those of Azure
			rand.Read(key)
			c.Keys[policy] = base64.StdEncoding.EncodeToString(key)
		}
	}
	if c.Limits != nil {
		l := *c.Limits
		for field, value := range map[*int]int{&l.Operations: 1000, &l.Registrations: 1000, &l.Polls: 5} {
			if *field == 0 {
				*field = value
			}
		}
		c.Limits = &l
	}
	if c.Assigning == 0 {
		c.Assigning = 1
	}
	c.Assigning = max(0, c.Assigning)
	if c.RetryAfter == 0 {
		c.RetryAfter = 3
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.TokenTime == nil {
		c.TokenTime = c.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.ListenFunc == nil {
		c.ListenFunc = net.Listen
	}
	return c, c.check()
}

var (
	guid        = pattern.New(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	serviceName = pattern.New(`^[A-Za-z0-9]([A-Za-z0-9-]{1,62}[A-Za-z0-9])$`)
	groupName   = pattern.New(`^[A-Za-z0-9._()-]{0,89}[A-Za-z0-9_()-]$`)
	hubName     = pattern.New(`^[a-z0-9][a-z0-9-]{1,48}[a-z0-9]\.azure-devices\.net$`)
	scopeName   = pattern.New(`^0ne[0-9A-Fa-f]{8}$`)
	policyName  = pattern.New(`^[A-Za-z0-9!._-]{1,64}$`)
)

// Check says what Start would refuse of a configuration, without looking at files or
// opening anything.
func (c Config) Check() error {
	_, err := c.withDefaults()
	return err
}

func (c Config) check() error {
	switch {
	case !guid.MatchString(c.TenantID):
		return fmt.Errorf("tenant id %q is not a GUID", c.TenantID)
	case !guid.MatchString(c.ClientID):
		return fmt.Errorf("client id %q is not a GUID", c.ClientID)
	case !guid.MatchString(c.SubscriptionID):
		return fmt.Errorf("subscription id %q is not a GUID", c.SubscriptionID)
	case !groupName.MatchString(c.ResourceGroup):
		return fmt.Errorf("resource group %q: want 1 to 90 letters, digits and ._()-", c.ResourceGroup)
	case !serviceName.MatchString(c.Service):
		return fmt.Errorf("service name %q: want 3 to 64 letters, digits and hyphens", c.Service)
	case strings.EqualFold(c.Service, "global"):
		return errors.New("service name global: this is where devices of every service connect")
	case !scopeName.MatchString(c.IDScope):
		return fmt.Errorf("id scope %q: want 0ne and 8 hexadecimal digits", c.IDScope)
	case len(c.Hubs) > maxHubs:
		return fmt.Errorf("%d linked hubs are more than %d", len(c.Hubs), maxHubs)
	case c.RetryAfter < 0:
		return fmt.Errorf("retry after %d seconds is negative", c.RetryAfter)
	}
	for i, hub := range c.Hubs {
		if !hubName.MatchString(hub) {
			return fmt.Errorf("hub %q: want a lower-case NAME.azure-devices.net", hub)
		}
		if slices.Contains(c.Hubs[:i], hub) {
			return fmt.Errorf("hub %s is given twice", hub)
		}
	}
	for name, key := range c.Keys {
		if !policyName.MatchString(name) {
			return fmt.Errorf("name of a shared access policy %q: want 1 to 64 letters, digits and !._-", name)
		}
		if b, err := base64.StdEncoding.DecodeString(key); err != nil || len(b) < 16 || len(b) > 64 {
			return fmt.Errorf("the key of the shared access policy %s is not base64 of 16 to 64 bytes", name)
		}
	}
	if l := c.Limits; l != nil && (l.Operations < 0 || l.Registrations < 0 || l.Polls < 0 || max(l.Operations, l.Registrations, l.Polls) > 1e6) {
		return errors.New("a limit is negative or more than a million")
	}
	for name, address := range map[string]string{"HTTPS": c.Listen, "MQTT": c.MQTT} {
		if err := checkListen(address, c.AllowRemote); err != nil {
			return fmt.Errorf("address of %s: %w", name, err)
		}
	}
	return nil
}

// checkListen refuses addresses that other machines can reach.
func checkListen(address string, remote bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("parsing %q: %w", address, err)
	}
	if remote || host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%q is not a loopback address; --allow-remote lets other machines reach the simulator", address)
	}
	return nil
}
