// Package config reads mintmark's one configuration file.
//
// It is strict: a key that it does not know is an error that names the line,
// because a misspelt limit is a limit that is not there. Only the composition
// root and the commands import it; every other package takes its own Config.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"mintmark/internal/pattern"
	"mintmark/issuer"
)

// File is the name of the configuration file in the state directory.
const File = "mintmark.yaml"

// maxSize bounds the configuration file.
const maxSize = 1 << 20

// Config is the configuration file. Comments on the fields are its reference.
type Config struct {
	// Dir is the state directory that the file was read from; relative paths
	// in the file start there. Not a key.
	Dir string `yaml:"-"`

	// Server is this server's name in the ledger, in logs and in leases.
	Server string `yaml:"server"`
	// PublicURL is the plain-HTTP address under which devices and relying
	// parties reach CRLs and CA certificates: http://host[:port].
	PublicURL string `yaml:"public_url"`

	Listen Listen `yaml:"listen"`
	TLS    TLS    `yaml:"tls"`
	Keys   Keys   `yaml:"keys"`
	// FIPS140 is "required" for a server that starts in FIPS 140-3 mode only
	// (docs/fips.md), or empty.
	FIPS140  string                          `yaml:"fips140"`
	Profiles map[string]issuer.ProfileConfig `yaml:"profiles"`
	Labels   []Label                         `yaml:"labels"`
	Orders   Orders                          `yaml:"orders"`
	CRL      CRL                             `yaml:"crl"`
	OCSP     OCSP                            `yaml:"ocsp"`
	AWS      AWS                             `yaml:"aws"`
	Azure    Azure                           `yaml:"azure"`
	Database Database                        `yaml:"database"`
	Access   Access                          `yaml:"access"`
	Audit    Audit                           `yaml:"audit"`
	Refusals Refusals                        `yaml:"refusals"`
	Limits   Limits                          `yaml:"limits"`
	Approval Approval                        `yaml:"approval"`
	Log      Log                             `yaml:"log"`
}

// Database says where the ledger is.
type Database struct {
	// URL names a PostgreSQL database, as in
	// postgres://mintmark@db.example/mintmark?sslmode=verify-full, without a
	// password. Left out, the ledger is an SQLite file in the state directory.
	URL string `yaml:"url"`
	// PasswordFile holds the password; mode 0400.
	PasswordFile string `yaml:"password_file"`
	// MaxConnections bounds the connections that this server opens.
	MaxConnections int `yaml:"max_connections"`
}

// Orders says what a claim certificate of a work order is issued from.
type Orders struct {
	// Issuer is an issuing CA that is registered with no cloud: whoever holds a
	// claim certificate must not become a device by connecting with it.
	Issuer string `yaml:"issuer"`
	// Profile has the preset claim.
	Profile string `yaml:"profile"`
}

// Access says how people reach the administrative API. Who they are and which
// roles they have is in the ledger.
type Access struct {
	// Issuer and Profile issue the TLS certificates of principals; the profile
	// has the preset officer. Left out, there is only the socket.
	Issuer  string `yaml:"issuer"`
	Profile string `yaml:"profile"`
	// ApprovalTTL is how long a proposal, and then its approval, may wait.
	ApprovalTTL time.Duration `yaml:"approval_ttl"`
	// RevokeLimit is how many certificates one person may revoke at once.
	RevokeLimit int `yaml:"revoke_limit"`
}

// Audit says how often the head of the issuance log is signed and where signed
// heads are kept besides the state directory.
type Audit struct {
	Interval time.Duration `yaml:"interval"`
	Heads    []HeadTarget  `yaml:"heads"`
}

// HeadTarget is one place off the host; exactly one field is set.
type HeadTarget struct {
	// Folder is a directory, best on another machine's disk.
	Folder string    `yaml:"folder"`
	S3     *HeadS3   `yaml:"s3"`
	HTTP   *HeadHTTP `yaml:"http"`
}

// HeadS3 is a bucket, best one with object lock.
type HeadS3 struct {
	Bucket  string `yaml:"bucket"`
	Prefix  string `yaml:"prefix"`
	Region  string `yaml:"region"`
	Profile string `yaml:"profile"`
	// Endpoint replaces AWS's own address: for stores that speak S3.
	Endpoint string `yaml:"endpoint"`
}

// HeadHTTP is an address that takes each head by PUT under its name.
type HeadHTTP struct {
	URL string `yaml:"url"`
	// TokenFile holds a bearer token; mode 0400.
	TokenFile string `yaml:"token_file"`
}

// Refusals says how many refusals are kept.
type Refusals struct {
	Keep int `yaml:"keep"`
}

// Listen holds the addresses, host:port.
type Listen struct {
	// EST serves RFC 7030 over TLS.
	EST string `yaml:"est"`
	// HTTP serves CRLs and CA certificates without TLS.
	HTTP string `yaml:"http"`
	// Metrics serves /metrics, /healthz and /readyz; keep it off the devices'
	// network.
	Metrics string `yaml:"metrics"`
	// Admin serves the administrative API over TLS to principals with a
	// certificate; left out, only the socket does.
	Admin string `yaml:"admin"`
}

// TLS says how the EST listener gets its own certificate.
type TLS struct {
	// Issuer and Profile issue it.
	Issuer  string `yaml:"issuer"`
	Profile string `yaml:"profile"`
	// Names are the DNS names and IP addresses that devices dial.
	Names []string `yaml:"names"`
}

// Keys says where the secrets are that open CA keys.
type Keys struct {
	// PassphraseFile opens encrypted key files; mode 0400. Left out, the
	// systemd credential "mintmark-passphrase" is used.
	PassphraseFile string `yaml:"passphrase_file"`
	// Tokens are the PKCS#11 tokens that keys may be in; no other module is loaded.
	Tokens []Token `yaml:"tokens"`
	// TPM is the one TPM that keys may be in.
	TPM TPM `yaml:"tpm"`
}

// TPM says where a TPM 2.0 is.
type TPM struct {
	// Device is a device, or the socket of an emulator; /dev/tpmrm0 if left out.
	Device string `yaml:"device"`
}

// Log says how to log to standard error.
type Log struct {
	Format string `yaml:"format"` // text or json
	Level  string `yaml:"level"`  // debug, info, warn or error
}

// Load reads and checks DIR/mintmark.yaml.
func Load(dir string) (*Config, error) {
	path := filepath.Join(dir, File)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist: run mintmark init --dir %s first, or name the state directory with --dir", path, dir)
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSize {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if c.Dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	return c, nil
}

// Parse reads and checks a configuration.
func Parse(data []byte) (*Config, error) {
	c := &Config{
		Server:   "mintmark",
		Listen:   Listen{EST: ":8443", HTTP: ":8080", Metrics: "127.0.0.1:9464"},
		CRL:      CRL{Period: 24 * time.Hour, Lifetime: 7 * 24 * time.Hour},
		OCSP:     defaultOCSP(),
		Database: Database{MaxConnections: 8},
		Access:   Access{ApprovalTTL: 72 * time.Hour, RevokeLimit: 10},
		Audit:    Audit{Interval: 10 * time.Minute},
		Refusals: Refusals{Keep: 100_000},
		Limits:   Limits{Connections: 2048, ConnectionsPerAddress: 256, Handshakes: 32},
		Approval: Approval{TTL: 7 * 24 * time.Hour, Most: 10_000},
		AWS:      AWS{Reconcile: 24 * time.Hour},
		Azure:    Azure{Reconcile: 24 * time.Hour},
		Log:      Log{Format: "text", Level: "info"},
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict(), yaml.DisallowUnknownField(),
		yaml.CustomUnmarshaler(func(d *time.Duration, text []byte) (err error) {
			*d, err = ParseDuration(strings.Trim(strings.TrimSpace(string(text)), `"'`))
			return err
		}))
	if err := moved(data); err != nil {
		return nil, err
	}
	if err := decoder.Decode(c); err != nil {
		return nil, fmt.Errorf("reading the configuration:\n%s", yaml.FormatError(err, false, true))
	}
	for i := range c.Labels {
		c.Labels[i].complete()
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

// moved says of a key that an earlier version had elsewhere where it is now.
func moved(data []byte) error {
	if !bytes.Contains(data, []byte("second_key")) && !bytes.Contains(data, []byte("jitr")) {
		return nil
	}
	var old struct {
		Profiles map[string]map[string]any `yaml:"profiles"`
		AWS      struct {
			Targets []struct {
				JITR map[string]any `yaml:"jitr"`
			} `yaml:"targets"`
		} `yaml:"aws"`
	}
	// What is wrong beyond this is for the strict decoder to say.
	if err := yaml.Unmarshal(data, &old); err != nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(old.Profiles)) {
		if _, has := old.Profiles[name]["second_key"]; has {
			return fmt.Errorf("profiles.%s.second_key: labels decide this now: remove it here, and set labels[].second_key to refuse, hold or allow", name)
		}
	}
	for i, target := range old.AWS.Targets {
		for _, key := range []string{"table", "max_age"} {
			if _, has := target.JITR[key]; has {
				return fmt.Errorf("aws.targets[%d].jitr.%s: this is the table of every function now: move it to aws.targets[%d].manifest.%s", i, key, i, key)
			}
		}
	}
	return nil
}

// Path makes a path of the file absolute.
func (c *Config) Path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.Dir, name)
}

var duration = pattern.New(`^([0-9]+)d$`)

// ParseDuration reads Go's durations and whole days, as in 36h or 730d.
func ParseDuration(text string) (time.Duration, error) {
	if m := duration.FindStringSubmatch(text); m != nil {
		days, err := strconv.Atoi(m[1])
		if err != nil || days > 100*365 {
			return 0, fmt.Errorf("duration %q is longer than 100 years", text)
		}
		return time.Duration(days) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("duration %q: write it as 90d, 36h or 15m", text)
	}
	return d, nil
}

// DurationText writes a length of time as ParseDuration reads it: 400d, 36h, 15m.
func DurationText(d time.Duration) string {
	const day = 24 * time.Hour
	if d != 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	if d%time.Minute == 0 && d != 0 {
		text = strings.TrimSuffix(text, "0s")
	}
	if d%time.Hour == 0 && d != 0 {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
