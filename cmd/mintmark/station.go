package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/issuer/est"
	"mintmark/issuer/station"
)

func newStation(a *app) *cobra.Command {
	c := a.group("station", "Provision the devices of a line, one after the other",
		`Station is for the test PC of a line. It holds the credential of a work order,
takes the certification request of each device, gets its certificate over EST,
puts it into the device and has the device show that it holds it. Devices are
reached over a serial line, by programs, or by folders: docs/station.md.

While the server is away devices leave their requests and go; they get their
certificates when they are back. Nothing is lost when the PC loses power.`,
		`  mintmark station check --config line-1.yaml
  mintmark station run --config line-1.yaml
  mintmark station status --config line-1.yaml`)
	c.AddCommand(newStationRun(a), newStationStatus(a), newStationFlush(a), newStationCheck(a), newStationForget(a))
	return c
}

// stationFlags name the configuration, and change it.
type stationFlags struct {
	file     string
	est      station.ESTConfig
	work     string
	csr, out string
	noDevice bool // the part device may be left out
}

// stationFile is the configuration unless a flag names another.
const stationFile = "station.yaml"

func (f *stationFlags) bind(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.file, "config", "", "`file` of the station (default "+stationFile+", if there is one)")
	flags.StringVar(&f.work, "work", "", "`directory` of queue and record, in place of dir")
}

// bindServer adds the flags of the server and the credential.
func (f *stationFlags) bindServer(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.est.URL, "url", "", "`URL` of the server, in place of est.url")
	flags.StringVar(&f.est.Label, "label", "", "EST `label`, in place of est.label")
	flags.StringVar(&f.est.CA, "ca", "", "`file` with the trust anchors, in place of est.ca")
	flags.StringVar(&f.est.Pin, "pin", "", "`SHA-256` fingerprint of the root, in place of est.pin")
	flags.StringVar(&f.est.SecretFile, "password-file", "", "`file` with ORDER:SECRET, in place of est.secret_file")
	flags.StringVar(&f.est.Claim, "cert", "", "`file` with a claim certificate, in place of est.claim")
	flags.StringVar(&f.est.ClaimKey, "key", "", "`file` with its key, in place of est.claim_key")
	c.MarkFlagsMutuallyExclusive("ca", "pin")
	c.MarkFlagsMutuallyExclusive("password-file", "cert")
}

// load returns the configuration with what flags change.
func (f *stationFlags) load() (*station.Config, error) {
	name := f.file
	if name == "" {
		name = stationFile
	}
	c, err := station.Load(name)
	if f.file == "" && errors.Is(err, fs.ErrNotExist) {
		c, err = station.Defaults(), nil
	}
	if err != nil {
		return nil, err
	}
	return c, f.override(c)
}

// read returns the configuration, checked.
func (f *stationFlags) read() (*station.Config, error) {
	c, err := f.load()
	if err != nil {
		return nil, err
	}
	check := c.Check
	if f.noDevice {
		check = c.CheckServer
	}
	if err := check(); err != nil {
		return nil, fmt.Errorf("the configuration of the station: %w", err)
	}
	return c, nil
}

// override lets the flags count more than the file. Their paths start here.
func (f *stationFlags) override(c *station.Config) error {
	for _, one := range []struct {
		flag string
		key  *string
		path bool
	}{
		{f.est.URL, &c.EST.URL, false}, {f.est.Label, &c.EST.Label, false}, {f.est.CA, &c.EST.CA, true}, {f.est.Pin, &c.EST.Pin, false},
		{f.est.SecretFile, &c.EST.SecretFile, true}, {f.est.Claim, &c.EST.Claim, true}, {f.est.ClaimKey, &c.EST.ClaimKey, true}, {f.work, &c.Dir, true},
	} {
		if one.flag == "" {
			continue
		}
		*one.key = one.flag
		if one.path && !isToken(one.flag) {
			absolute, err := filepath.Abs(one.flag)
			if err != nil {
				return err
			}
			*one.key = absolute
		}
	}
	switch { // what a flag says in another way
	case f.est.CA != "":
		c.EST.Pin = ""
	case f.est.Pin != "":
		c.EST.CA = ""
	}
	switch {
	case f.est.SecretFile != "":
		c.EST.Claim, c.EST.ClaimKey = "", ""
	case f.est.Claim != "":
		c.EST.SecretFile = ""
	}
	if f.csr != "" {
		c.Device = station.Defaults().Device
		// Replaced by the one file when the station is opened.
		c.Device.Files = &station.FilesConfig{Requests: f.csr, Certificates: f.out}
		if c.Verify != station.ByNothing {
			c.Verify = station.ByFingerprint
		}
	}
	return nil
}

// line is an EST client with what it trusts.
type line struct {
	client  *est.Client
	anchors []*x509.Certificate
	order   string // user of the credential, or label
	close   func() error
}

// connectLine reads credential and trust anchors. It asks the server only for a root that
// is known by its fingerprint and was never fetched.
func (a *app) connectLine(ctx context.Context, c *station.Config) (*line, error) {
	e := c.Paths()
	f := &estFlags{ca: e.CA, pin: e.Pin, tls12: e.TLS12, passwordFile: e.SecretFile, cert: e.Claim, key: e.ClaimKey}
	f.client.URL, f.client.Label = e.URL, e.Label
	if f.cert != "" && f.key == "" {
		f.key = f.cert
	}
	kept := ""
	if f.pin != "" {
		pin, err := est.ParsePin(f.pin)
		if err != nil {
			return nil, fmt.Errorf("est.pin: %w", err)
		}
		kept = filepath.Join(c.Folder(), "root-"+hex.EncodeToString(pin[:8])+".pem")
		if list, err := readCertificates(kept); err == nil && est.PinOf(list[0]) == pin {
			f.pin, f.ca, kept = "", kept, ""
		}
	}
	done, err := a.openEST(ctx, f)
	if err != nil {
		return nil, explainStation(err)
	}
	if kept != "" {
		err := os.MkdirAll(c.Folder(), 0o700)
		if err == nil {
			err = replaceFile(kept, certificatePEM(f.anchors...), 0o644)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("keeping the root: %w", err), done())
		}
	}
	order := f.client.User
	if order == "" && f.client.Certificate != nil && f.client.Certificate.Leaf != nil {
		order = f.client.Certificate.Leaf.Subject.CommonName
	}
	if order == "" {
		order = e.Label
	}
	return &line{&f.client, f.anchors, order, func() error { f.client.Close(); return done() }}, nil
}

// explainStation adds what was probably meant to an error of the server.
func explainStation(err error) error {
	var untrusted *tls.CertificateVerificationError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	var status *est.StatusError
	var network *net.OpError
	clock := time.Now().UTC().Format("2006-01-02 15:04 UTC")
	switch {
	case errors.As(err, &untrusted) && errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%w: this PC's clock says %s: set it right, or renew the server's certificate", err, clock)
	case errors.As(err, &untrusted):
		return fmt.Errorf("%w: est.ca names the file with the root of the server's certificate, est.url a name that is in it; this PC's clock says %s", err, clock)
	case errors.As(err, &alert):
		return fmt.Errorf("%w: the server ended TLS: does it take the claim certificate, and is this PC's clock right? It says %s", err, clock)
	case errors.As(err, &network) && network.Op == "dial":
		return fmt.Errorf("%w: nothing answers there: does the server run, and is est.url right?", err)
	case errors.As(err, &status) && status.Code == http.StatusUnauthorized:
		return fmt.Errorf("%w: the server does not take the credential: was the order killed, or did it get another secret (mintmark order show)?", err)
	case errors.As(err, &status) && status.Code == http.StatusNotFound:
		return fmt.Errorf("%w: are est.label and the path of est.url right?", err)
	}
	return err
}

// openStation opens the station of a configuration. The caller closes it and the line.
func (a *app) openStation(ctx context.Context, c *station.Config, f *stationFlags, change func(*station.Options)) (*station.Station, *line, error) {
	l, err := a.connectLine(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	o := c.Options()
	o.Order, o.Server, o.Anchors, o.Explain = l.order, l.client, l.anchors, explainStation
	switch {
	case f.noDevice:
	case f.csr != "":
		o.Device, err = station.NewFile(f.csr, f.out, a.in)
	default:
		o.Device, err = c.Adapter()
	}
	if err != nil {
		return nil, nil, errors.Join(err, l.close())
	}
	if o.Device != nil {
		l.close = closeAll(o.Device.Close, l.close)
	}
	change(&o)
	s, err := station.Open(o)
	if err != nil {
		return nil, nil, errors.Join(err, l.close())
	}
	return s, l, nil
}

func closeAll(list ...func() error) func() error {
	return func() error {
		var all error
		for _, fn := range list {
			all = errors.Join(all, fn())
		}
		return all
	}
}

// describeWaiting is a device of the queue for people.
func describeWaiting(e station.Entry) (state, what string) {
	switch e.State {
	case station.Requested:
		what = e.Reason
		if what == "" {
			what = "the server is to be asked"
		}
		if !e.NotBefore.IsZero() {
			what += ", asked again at " + date(e.NotBefore)
		}
		return "waits", what
	case station.Issued:
		return "ready", "put it back: its certificate is here"
	case station.Verified:
		return "done", "its line is written when the station starts"
	}
	return string(e.State), "its key is in the station's memory"
}

// serialOf is the serial number of the certificate of a device that waits.
func serialOf(e station.Entry) string {
	c, err := x509.ParseCertificate(e.Certificate)
	if err != nil {
		return ""
	}
	return strings.ToLower(hex.EncodeToString(bytes.TrimLeft(c.SerialNumber.Bytes(), "\x00")))
}
