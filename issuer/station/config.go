package station

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// maxConfig bounds the configuration file, in bytes.
const maxConfig = 256 << 10

// Config is the file of a station, station.yaml. Comments on the fields are its reference;
// relative paths start at the folder of the file.
type Config struct {
	// Name of the station in the record; left out, the name of the PC.
	Name string `yaml:"name"`
	// Dir has the queue and the record; left out, the folder of the file.
	Dir     string         `yaml:"dir"`
	EST     ESTConfig      `yaml:"est"`
	Device  DeviceConfig   `yaml:"device"`
	Verify  Verification   `yaml:"verify"`
	Record  RecordConfig   `yaml:"record"`
	Timeout TimeoutsConfig `yaml:"timeouts"`

	expect *regexp.Regexp
	base   string
}

// ESTConfig says where certificates come from, and by what credential.
type ESTConfig struct {
	URL   string `yaml:"url"`
	Label string `yaml:"label"`
	// CA is the file with the trust anchors, of the server and of the certificates; Pin
	// is the SHA-256 of the root, in its place. One of them must be set.
	CA  string `yaml:"ca"`
	Pin string `yaml:"pin"`
	// SecretFile holds ORDER:SECRET, as order create writes it.
	SecretFile string `yaml:"secret_file"`
	// Claim is a claim certificate; its key is in the same file unless ClaimKey names
	// another, or the pkcs11: URI of one.
	Claim    string `yaml:"claim"`
	ClaimKey string `yaml:"claim_key"`
	// TLS12 keeps to TLS 1.2.
	TLS12 bool `yaml:"tls12"`
}

// DeviceConfig says how devices are reached: one of Serial, Commands and Files.
type DeviceConfig struct {
	Serial   *SerialConfig   `yaml:"serial"`
	Commands *CommandsConfig `yaml:"commands"`
	Files    *FilesConfig    `yaml:"files"`
	// Expect is a regular expression that the whole identifier must match.
	Expect string `yaml:"expect"`
	// Keygen is device, or station for devices that cannot make a key.
	Keygen string `yaml:"keygen"`
	// KeyType is that of keys that the station makes.
	KeyType string `yaml:"key_type"`
	// Roots gives devices the server's trust anchors, too.
	Roots bool `yaml:"roots"`
	// Poll is the pause between two looks for a device.
	Poll time.Duration `yaml:"poll"`
}

// SerialConfig is a serial port with a device that speaks the line protocol.
type SerialConfig struct {
	Port string `yaml:"port"`
	Baud int    `yaml:"baud"`
	// Answer is how long a device may take to answer a line.
	Answer time.Duration `yaml:"answer"`
	// Tries is how often a line is sent that is not answered.
	Tries int `yaml:"tries"`
}

// CommandsConfig are programs with their arguments, run without a shell.
type CommandsConfig struct {
	Identify []string `yaml:"identify"`
	Request  []string `yaml:"request"`
	Install  []string `yaml:"install"`
	// Verify may be left out with verify: none.
	Verify []string `yaml:"verify"`
	// Scanner: each answer of Identify is a device that was put there anew.
	Scanner bool `yaml:"scanner"`

	dir string
}

// FilesConfig are two folders: requests are put into one, chains come out of the other.
type FilesConfig struct {
	Requests     string `yaml:"requests"`
	Certificates string `yaml:"certificates"`
	// Watch goes on when all requests are done.
	Watch bool `yaml:"watch"`
}

// RecordConfig is the file with a line for each device.
type RecordConfig struct {
	File   string `yaml:"file"`
	Format Format `yaml:"format"`
}

// TimeoutsConfig bounds the steps of a device.
type TimeoutsConfig struct {
	Identify time.Duration `yaml:"identify"`
	Request  time.Duration `yaml:"request"`
	Enroll   time.Duration `yaml:"enroll"`
	Install  time.Duration `yaml:"install"`
	Verify   time.Duration `yaml:"verify"`
}

// Defaults are what a file need not say.
func Defaults() *Config {
	return &Config{
		Device: DeviceConfig{Keygen: "device", Poll: 500 * time.Millisecond},
		Record: RecordConfig{Format: CSV},
		Timeout: TimeoutsConfig{
			Identify: 10 * time.Second, Request: time.Minute, Enroll: 20 * time.Second, Install: time.Minute, Verify: 30 * time.Second,
		},
	}
}

// Load reads a configuration from a file, and does not check it: Check does.
func Load(name string) (*Config, error) {
	data, err := readFile(name, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("reading the station's configuration: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c.base = filepath.Dir(name)
	return c, nil
}

// Parse reads a configuration: YAML, in which an unknown key is an error.
func Parse(data []byte) (*Config, error) {
	if len(data) > maxConfig {
		return nil, fmt.Errorf("the configuration is larger than %d bytes", maxConfig)
	}
	// Anchors and aliases say a thing twice, and can say it a billion times.
	for _, line := range bytes.Split(data, []byte("\n")) {
		_, value, _ := bytes.Cut(line, []byte(":"))
		if value = bytes.TrimSpace(value); len(value) > 0 && (value[0] == '&' || value[0] == '*') {
			return nil, fmt.Errorf("%q: a station's configuration has no anchors and aliases", oneLine(string(line)))
		}
	}
	c := Defaults()
	decoder := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict(), yaml.DisallowUnknownField())
	if err := decoder.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the configuration:\n%s", yaml.FormatError(err, false, true))
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("the configuration holds more than one document")
	}
	return c, nil
}

// Check says what is wrong with a configuration, and completes it.
func (c *Config) Check() error { return errors.Join(c.CheckServer(), c.checkDevice()) }

// CheckServer is Check for what needs no device: the part device may be left out.
func (c *Config) CheckServer() error {
	if c.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("name must be set: %w", err)
		}
		c.Name = name
	}
	if c.Record.Format == "" {
		c.Record.Format = CSV
	}
	if c.Record.Format != CSV && c.Record.Format != NDJSON {
		return fmt.Errorf("record.format %q is none of csv, ndjson", c.Record.Format)
	}
	if c.Record.File == "" {
		c.Record.File = "record." + string(c.Record.Format)
	}
	for _, t := range []struct {
		name string
		d    time.Duration
	}{
		{"timeouts.identify", c.Timeout.Identify}, {"timeouts.request", c.Timeout.Request}, {"timeouts.enroll", c.Timeout.Enroll},
		{"timeouts.install", c.Timeout.Install}, {"timeouts.verify", c.Timeout.Verify},
	} {
		if t.d < 10*time.Millisecond || t.d > time.Hour {
			return fmt.Errorf("%s is %v: it must be 10ms to 1h", t.name, t.d)
		}
	}
	return c.EST.check()
}

func (c *ESTConfig) check() error {
	switch {
	case c.URL == "":
		return errors.New("est.url must be set")
	case (c.CA == "") == (c.Pin == ""):
		return errors.New("one of est.ca and est.pin must be set: every certificate is held against these trust anchors")
	case c.SecretFile != "" && c.Claim != "":
		return errors.New("only one of est.secret_file and est.claim can be set")
	case c.SecretFile == "" && c.Claim == "":
		return errors.New("est.secret_file or est.claim must be set: mintmark order create writes one")
	case c.ClaimKey != "" && c.Claim == "":
		return errors.New("est.claim_key is the key of est.claim, which is not set")
	}
	return nil
}

func (c *Config) checkDevice() error {
	d := &c.Device
	set := 0
	for _, has := range []bool{d.Serial != nil, d.Commands != nil, d.Files != nil} {
		if has {
			set++
		}
	}
	if set != 1 {
		return errors.New("one of device.serial, device.commands and device.files must be set")
	}
	if d.Expect != "" {
		expect, err := regexp.Compile(`\A(?:` + d.Expect + `)\z`)
		if err != nil {
			return fmt.Errorf("device.expect: %w", err)
		}
		c.expect = expect
	}
	if d.Poll < 10*time.Millisecond || d.Poll > time.Minute {
		return fmt.Errorf("device.poll is %v: it must be 10ms to 1m", d.Poll)
	}
	switch d.Keygen {
	case "device":
		if d.KeyType != "" {
			return errors.New("device.key_type is for keygen: station; a device decides itself")
		}
	case "station":
		if d.Files != nil {
			return errors.New("device.keygen: station does not go with device.files: keys do not go to files")
		}
		if d.KeyType == "" {
			d.KeyType = "P-256"
		}
		switch d.KeyType {
		case "P-256", "P-384", "RSA-2048", "RSA-3072":
		default:
			return fmt.Errorf("device.key_type %q is none of P-256, P-384, RSA-2048, RSA-3072", d.KeyType)
		}
	default:
		return fmt.Errorf("device.keygen %q is none of device, station", d.Keygen)
	}
	switch c.Verify {
	case "", ByProof, ByFingerprint, ByNothing:
	default:
		return fmt.Errorf("verify %q is none of proof, fingerprint, none", c.Verify)
	}
	switch {
	case d.Serial != nil:
		return d.Serial.check()
	case d.Commands != nil:
		return d.Commands.check(c.Verify, d.Keygen == "station")
	}
	if d.Files.Requests == "" || d.Files.Certificates == "" {
		return errors.New("device.files needs requests and certificates, two folders")
	}
	if c.path(d.Files.Requests) == c.path(d.Files.Certificates) {
		return errors.New("device.files: requests and certificates must be two folders")
	}
	if c.Verify == ByProof {
		return errors.New("verify: proof does not go with device.files: a folder signs nothing")
	}
	return nil
}

func (s *SerialConfig) check() error {
	if s.Port == "" {
		return errors.New("device.serial.port must be set, as in /dev/ttyUSB0")
	}
	if s.Baud == 0 {
		s.Baud = 115200
	}
	if s.Answer == 0 {
		s.Answer = time.Second
	}
	if s.Tries == 0 {
		s.Tries = 5
	}
	if s.Answer < 10*time.Millisecond || s.Answer > time.Minute {
		return fmt.Errorf("device.serial.answer is %v: it must be 10ms to 1m", s.Answer)
	}
	if s.Tries < 1 || s.Tries > 100 {
		return fmt.Errorf("device.serial.tries is %d: it must be 1 to 100", s.Tries)
	}
	return nil
}

func (s *CommandsConfig) check(verify Verification, madeHere bool) error {
	for _, one := range []struct {
		name string
		argv []string
		need bool
	}{
		{"identify", s.Identify, true}, {"request", s.Request, !madeHere}, {"install", s.Install, true}, {"verify", s.Verify, verify != ByNothing},
	} {
		switch {
		case len(one.argv) == 0 && one.need && one.name == "verify":
			return errors.New("device.commands.verify must be set: verify: none takes the device's word at installing")
		case len(one.argv) == 0 && one.need:
			return fmt.Errorf("device.commands.%s must be set: a program and its arguments, as a list", one.name)
		case len(one.argv) > 0 && strings.TrimSpace(one.argv[0]) == "":
			return fmt.Errorf("device.commands.%s names no program", one.name)
		}
	}
	return nil
}

// path makes a path of the file absolute, or relative to where the program runs.
func (c *Config) path(name string) string {
	if name == "" || filepath.IsAbs(name) || strings.HasPrefix(strings.ToLower(name), "pkcs11:") {
		return name
	}
	return filepath.Join(c.base, name)
}

// Folder is where queue and record are.
func (c *Config) Folder() string {
	if c.Dir == "" {
		return c.path(".")
	}
	return c.path(c.Dir)
}

// Paths returns the EST part with its files as they are found.
func (c *Config) Paths() ESTConfig {
	e := c.EST
	e.CA, e.SecretFile, e.Claim, e.ClaimKey = c.path(e.CA), c.path(e.SecretFile), c.path(e.Claim), c.path(e.ClaimKey)
	return e
}

// Adapter makes what speaks to devices.
func (c *Config) Adapter() (Adapter, error) {
	switch {
	case c.Device.Serial != nil:
		return c.serial(), nil
	case c.Device.Commands != nil:
		one := *c.Device.Commands
		one.dir = c.base
		return NewCommands(one), nil
	}
	return NewFiles(c.path(c.Device.Files.Requests), c.path(c.Device.Files.Certificates), c.Device.Files.Watch)
}

func (c *Config) serial() *Serial {
	one := *c.Device.Serial
	one.Port = c.path(one.Port)
	return NewSerial(one)
}

// Options are those of a station with this configuration; the server's part is the caller's.
func (c *Config) Options() Options {
	o := Options{
		Name: c.Name, Dir: c.Folder(), Record: c.Record.File, Format: c.Record.Format, Expect: c.expect, Verify: c.Verify,
		Roots: c.Device.Roots, Poll: c.Device.Poll, Limits: Limits(c.Timeout),
	}
	if c.Device.Keygen == "station" {
		o.Keygen = c.Device.KeyType
	}
	return o
}
