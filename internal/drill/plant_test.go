package drill

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/awsreg/awssim"
	"mintmark/dpsreg/dpssim"
	"mintmark/internal/config"
	"mintmark/internal/server"
)

const (
	lineSecret = "the secret of the line"
	accessKey  = "AKIADRILLDRILLDRILL1"
	secretKey  = "drill/secret/drill/secret/drill/secret/1"
	account    = "123456789012"
)

// patience is for what takes moments, and with a large fleet longer.
var patience = map[bool]time.Duration{false: time.Minute, true: 30 * time.Minute}[long()]

// regions are where the places of AWS are.
var regions = map[string]string{"line-a": "eu-central-1", "line-b": "eu-west-1"}

// plant is a factory: a state directory, the server of it when it runs, both clouds, the
// fleet and the officers.
type plant struct {
	t       *testing.T
	dir     string
	clock   *clock
	aws     *awssim.Sim
	dps     *dpssim.Sim
	hosts   map[string]string // endpoints at AWS, by place
	people  people
	fleet   []*device
	stores  stores
	answers sync.Map
	verdict sync.Map
	before  []*x509.Certificate // what the server showed with its certificate, at first
	old     *store              // what everybody trusted at first
	waived  map[string]bool

	inside server.Inside
	est    string // its address
	stop   func()
}

// newPlant makes the state directory, with CAs and configuration, and starts the clouds.
func newPlant(t *testing.T) *plant {
	t.Helper()
	p := &plant{t: t, dir: filepath.Join(t.TempDir(), "state"), clock: new(clock), people: newPeople(t), waived: make(map[string]bool)}
	var err error
	if p.aws, err = awssim.Start(t.Context(), awssim.Config{
		Accounts: []awssim.Account{{ID: account, AccessKeyID: accessKey, SecretAccessKey: secretKey}}, Region: regions["line-a"], Now: p.clock.now, SignedAt: time.Now,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.aws.Close() })
	if p.dps, err = dpssim.Start(t.Context(), dpssim.Config{
		Service: "plant-dps", Hubs: []string{"plant-hub.azure-devices.net"}, Assigning: -1, StateDir: filepath.Join(t.TempDir(), "dps"), Now: p.clock.now, TokenTime: time.Now,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.dps.Close() })
	quiet := slog.New(slog.DiscardHandler)
	if err := server.Init(t.Context(), server.InitOptions{Dir: p.dir, Organization: "Example Works", Names: []string{"localhost", "127.0.0.1"}}, quiet, io.Discard); err != nil {
		t.Fatal(err)
	}
	p.makeCAs()
	p.configure()
	p.hosts = make(map[string]string)
	for place, region := range regions {
		p.hosts[place] = awssim.EndpointName(account, region)
	}
	return p
}

// makeCAs makes an issuing CA for each place.
func (p *plant) makeCAs() {
	p.t.Helper()
	c, err := config.Load(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	s, err := server.Open(p.t.Context(), c, server.Options{Logger: slog.New(slog.DiscardHandler), Now: p.clock.now})
	if err != nil {
		p.t.Fatal(err)
	}
	client, none := admin.New(admin.InProcess(s.Admin())), 0
	for _, place := range places {
		if _, err := client.CreateAuthority(p.t.Context(), admin.AuthoritySpec{
			Name: place, Issuer: "root", Subject: admin.Name{CommonName: "Issuing CA " + place}, ValiditySeconds: int64(10 * 365 * day / time.Second), PathLen: &none,
		}); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		p.t.Fatal(err)
	}
}

// configure adds the places, their clouds and a label for each way to be given anchors.
func (p *plant) configure() {
	p.t.Helper()
	sum := sha256.Sum256([]byte(lineSecret))
	var b strings.Builder
	b.WriteString("aws:\n  targets:\n")
	for _, place := range places[:2] {
		fmt.Fprintf(&b, `    - name: %s
      account_id: %q
      region: %s
      endpoint: %s
      quota_scale: 1000
      cas:
        - {issuer: %[1]s, mode: DEFAULT, use: jitp, jitp: {profile: provisioned, role_arn: "arn:aws:iam::%[2]s:role/mintmark-jitp", policy: mintmark-device}}
`, place, account, regions[place], p.aws.ControlURL())
	}
	cfg := p.dps.Config()
	fmt.Fprintf(&b, `azure:
  targets:
    - name: plant
      subscription_id: %s
      resource_group: %s
      service: %s
      id_scope: %s
      identity: {tenant_id: %s, client_id: %s, secret_file: %s/client-secret}
      connect: {address: %q, trust_file: %[7]s/root.pem}
      cas:
        - authority: root
      groups:
        - id: plant
          anchors: [root]
          labels: [plant-%[9]s]
      hubs:
        - host: %[10]s
`, cfg.SubscriptionID, cfg.ResourceGroup, cfg.Service, cfg.IDScope, cfg.TenantID, cfg.ClientID, cfg.StateDir, p.dps.Addr(), strings.Join(flavours, ", plant-"), cfg.Hubs[0])
	b.WriteString("labels:\n")
	for _, place := range places {
		profile := "provisioned"
		if place == "plant" {
			profile = "plain"
		}
		for _, flavor := range flavours {
			fmt.Fprintf(&b, "  - {name: %s-%s, profile: %s, issuer: %[1]s, authorize: trusted, cacerts: %[2]s, passwords: [{user: line, sha256: %[4]s}], own: [%[3]s]}\n",
				place, flavor, profile, hex.EncodeToString(sum[:]))
		}
	}
	file := filepath.Join(p.dir, config.File)
	data, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	text := string(data)
	for _, edit := range [][2]string{
		{"labels:\n", b.String()},
		{"profiles:\n", "profiles:\n  provisioned: {preset: aws-jitp, validity: 1095d}\n  plain: {preset: azure-iot-edge, validity: 1095d}\n"},
		{"    validity: 90d\n", "    validity: 1095d\n"}, // no certificate of the server's is in the way of a leap
	} {
		if strings.Count(text, edit[0]) != 1 {
			p.t.Fatalf("the configuration does not have %q once", edit[0])
		}
		text = strings.Replace(text, edit[0], edit[1], 1)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// open starts the server, and waits until it serves; p.stop ends it.
func (p *plant) open() {
	p.t.Helper()
	c, err := config.Load(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	reader, writer := io.Pipe()
	level := new(slog.LevelVar)
	level.Set(slog.LevelError)
	s, err := server.Open(p.t.Context(), c, server.Options{
		Listen: "127.0.0.1:0", Out: writer, Now: p.clock.now, Inside: func(i server.Inside) { p.inside = i },
		Logger: slog.New(slog.NewTextHandler(p.t.Output(), &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context()))
	ended := make(chan error, 1)
	go func() {
		err := errors.Join(s.Serve(ctx), s.Close())
		writer.CloseWithError(io.EOF)
		ended <- err
	}()
	var once sync.Once
	p.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				p.t.Errorf("serving: %v", err)
			}
		})
	}
	p.t.Cleanup(p.stop)
	p.est = ""
	for in := bufio.NewScanner(reader); p.est == "" && in.Scan(); {
		if name, address, _ := strings.Cut(in.Text(), " listening on "); name == "est" {
			p.est = address
		}
	}
	if p.est == "" {
		p.stop()
		p.t.Fatal("the server did not start")
	}
	go io.Copy(io.Discard, reader)
	p.people.enter(p)
}

// applyClouds brings the clouds to the configured state, for the first time.
func (p *plant) applyClouds() {
	p.t.Helper()
	alice := p.as("alice")
	for _, place := range places[:2] {
		if _, err := alice.AWSApply(p.t.Context(), place, admin.Apply{}, nil); err != nil {
			p.t.Fatal(err)
		}
	}
	if _, err := alice.AzureApply(p.t.Context(), "plant", admin.Apply{}, nil); err != nil {
		p.t.Fatal(err)
	}
}
