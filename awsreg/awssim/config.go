package awssim

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"mintmark/internal/pattern"
)

// Config says what the simulator stands in for. The zero value is not usable:
// at least one account is needed.
type Config struct {
	// Accounts are the AWS accounts that exist. Requests are signed with their
	// keys and act in their account. Must be set.
	Accounts []Account

	// Region is the region whose worlds exist from the start, and the one that a
	// device without SNI is looked up in first. The control plane answers for any
	// region in the credential scope. Default "eu-central-1".
	Region string

	// Control is the listen address of the HTTP control plane.
	// Default "127.0.0.1:0".
	Control string

	// Broker is the listen address of the mTLS MQTT broker. Default "127.0.0.1:0".
	Broker string

	// Listen opens the two listeners; net.Listen if nil. Tests give listeners in
	// memory, so that the simulator runs inside testing/synctest: it starts no
	// goroutine that Close does not end. Functions are processes and always have a
	// real listener for their runtime API.
	Listen func(network, address string) (net.Listener, error)

	// Localhost makes the server name localhost stand for the endpoint of the first
	// account in Region. Devices at AWS send the name that they dial, and many
	// clients can send no other: so they can use what needs SNI without an entry
	// for the endpoint in their hosts file.
	Localhost bool

	// AllowRemote permits listen addresses that are not loopback.
	AllowRemote bool

	// Quotas throttles the control plane as AWS does. Nil throttles nothing.
	Quotas *Quotas

	// Functions are the Lambda functions that topic rules may call, by name. They
	// exist in every account and region.
	Functions map[string]Function

	// Buckets are S3 buckets by name, each an existing directory whose files are
	// the objects. They exist in every region, and belong to every account.
	Buckets map[string]string

	// StateDir, when set, is an existing directory into which the trust anchor of
	// the broker's server certificate is written as amazon-root.pem. Buckets that
	// are not in Buckets are the directories in its subdirectory s3, which holds also
	// who created them.
	StateDir string

	// Logger receives one line per control-plane request and per refused
	// connection. Default: discarded.
	Logger *slog.Logger

	// Now is the clock of certificate validity, signature age and timestamps.
	// Default time.Now.
	Now func() time.Time

	// SignedAt is the clock of signature age, where it is another than Now: AWS's clients
	// sign by that of their machine, also in a drill that lets years pass.
	SignedAt func() time.Time
}

// Account is an AWS account and the one access key that signs for it.
type Account struct {
	ID              string // 12 digits
	AccessKeyID     string
	SecretAccessKey string
}

// Function is a Lambda function of the provided.al2023 runtime.
type Function struct {
	Path string   // the bootstrap executable
	Env  []string // further environment, KEY=VALUE

	// Timeout ends an invocation that takes longer, together with the process. At most
	// 15 minutes; default 30 s. A service that calls the function waits for as long as
	// AWS's does, whatever this is.
	Timeout time.Duration
}

// Time-outs of a function. The longest is AWS's (AWS Lambda developer guide,
// gettingstarted-limits), the default the simulator's own.
const (
	defaultFunctionTimeout = 30 * time.Second
	maxFunctionTimeout     = 15 * time.Minute
)

// timeout is the time-out with its default.
func (f Function) timeout() time.Duration {
	if f.Timeout == 0 {
		return defaultFunctionTimeout
	}
	return f.Timeout
}

var (
	accountID  = pattern.New(`^[0-9]{12}$`)
	regionName = pattern.New(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
	fnName     = pattern.New(`^[A-Za-z0-9_-]{1,64}$`)
)

// withDefaults returns cfg with its defaults filled in, or an error that names
// the field that is wrong.
func (cfg Config) withDefaults() (Config, error) {
	if cfg.Region == "" {
		cfg.Region = "eu-central-1"
	}
	if cfg.Control == "" {
		cfg.Control = "127.0.0.1:0"
	}
	if cfg.Broker == "" {
		cfg.Broker = "127.0.0.1:0"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.SignedAt == nil {
		cfg.SignedAt = cfg.Now
	}
	if cfg.Listen == nil {
		cfg.Listen = net.Listen
	}
	if !regionName.MatchString(cfg.Region) {
		return cfg, fmt.Errorf("region %q is not an AWS region name", cfg.Region)
	}
	if err := cfg.checkAccounts(); err != nil {
		return cfg, err
	}
	if err := cfg.Quotas.check(); err != nil {
		return cfg, err
	}
	for name, fn := range cfg.Functions {
		if !fnName.MatchString(name) {
			return cfg, fmt.Errorf("function name %q: want 1 to 64 letters, digits, hyphens or underscores", name)
		}
		if fn.Timeout < 0 || fn.Timeout > maxFunctionTimeout {
			return cfg, fmt.Errorf("function %q: the time-out %s is not between 0 and %s", name, fn.Timeout, maxFunctionTimeout)
		}
		if st, err := os.Stat(fn.Path); err != nil {
			return cfg, fmt.Errorf("function %q: %w", name, err)
		} else if st.IsDir() {
			return cfg, fmt.Errorf("function %q: %s is a directory, want the bootstrap executable", name, fn.Path)
		}
	}
	if err := checkBuckets(cfg.Buckets); err != nil {
		return cfg, err
	}
	for field, addr := range map[string]string{"control": cfg.Control, "broker": cfg.Broker} {
		if err := checkListen(addr, cfg.AllowRemote); err != nil {
			return cfg, fmt.Errorf("%s address: %w", field, err)
		}
	}
	return cfg, nil
}

func (cfg Config) checkAccounts() error {
	if len(cfg.Accounts) == 0 {
		return errors.New("no account: the simulator needs at least one")
	}
	ids, keys := map[string]bool{}, map[string]bool{}
	for _, a := range cfg.Accounts {
		switch {
		case !accountID.MatchString(a.ID):
			return fmt.Errorf("account id %q: want 12 digits", a.ID)
		case a.AccessKeyID == "" || a.SecretAccessKey == "":
			return fmt.Errorf("account %s: access key id and secret access key must be set", a.ID)
		case ids[a.ID]:
			return fmt.Errorf("account %s is given twice", a.ID)
		case keys[a.AccessKeyID]:
			return fmt.Errorf("access key id %q belongs to two accounts", a.AccessKeyID)
		}
		ids[a.ID], keys[a.AccessKeyID] = true, true
	}
	return nil
}

// checkListen refuses addresses that other machines can reach.
func checkListen(addr string, remote bool) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("parsing %q: %w", addr, err)
	}
	if remote || host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%q is not a loopback address; set AllowRemote if other machines shall reach the simulator", addr)
	}
	return nil
}
