package dpssim

import (
	"errors"
	"log/slog"
	"net"
	"time"
)

// Config says what is simulated. The zero value of a field is what withDefaults says.
type Config struct {
	Listen string // address of HTTPS: Entra, ARM, data plane, device API, hubs; "127.0.0.1:0"
	MQTT   string // address of MQTT over TLS; "127.0.0.1:0"
	// AllowRemote allows addresses that other machines reach.
	AllowRemote bool

	TenantID       string
	ClientID       string
	ClientSecret   string // made at start if empty
	SubscriptionID string
	ResourceGroup  string
	Service        string   // name of the DPS instance
	IDScope        string   // "0ne" and 8 hex digits, made from Service if empty
	Hubs           []string // host names of linked hubs; one if nil
	// Keys are the shared access policies of the service and of the hubs, base64 by
	// name; "provisioningserviceowner" and "iothubowner" are made at start if absent.
	Keys map[string]string

	// StateDir gets what clients need to reach the simulator; empty for nothing.
	StateDir string
	Limits   *Limits // nil for none
	// Assigning is how many polls of a registration answer "assigning"; 1 if zero,
	// none if negative.
	Assigning int
	// RetryAfter is what devices and callers are told to wait, in seconds; 3 if zero.
	RetryAfter int

	Now    func() time.Time
	Logger *slog.Logger
	// ListenFunc replaces net.Listen.
	ListenFunc func(network, address string) (net.Listener, error)
}

// Limits are the rates of a service: https://learn.microsoft.com/azure/iot-dps/about-iot-dps
type Limits struct {
	Operations    int // a minute; 1000 if zero
	Registrations int // a minute; 1000 if zero
	Polls         int // in 10 s, a device; 5 if zero
}

func (c Config) withDefaults() (Config, error) { return c, errors.New("not built yet") }
