package station

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Commands reaches devices by programs. Each has the step and the device in its
// environment (MINTMARK_STEP, MINTMARK_DEVICE) and ends with 0 if it did it.
type Commands struct {
	CommandsConfig
	held time.Duration // how long the output of a program is read when it has ended
}

// noDevice is the exit code of a program that finds no device: EX_TEMPFAIL of sysexits.h.
const noDevice = 75

// noCertificate is that of verify if the device holds none: EX_UNAVAILABLE.
const noCertificate = 69

// maxOutput bounds what a program may print, in bytes; of standard error as much is kept.
const maxOutput = 64 << 10

// NewCommands returns the adapter of programs.
func NewCommands(c CommandsConfig) *Commands { return &Commands{c, 2 * time.Second} }

// Scans reports whether identify waits for the next device itself.
func (c *Commands) Scans() bool { return c.Scanner }

// Finished has nothing to do.
func (c *Commands) Finished(string, Outcome) error { return nil }

// Close has nothing to do: a program ends with its step.
func (c *Commands) Close() error { return nil }

// run runs a program, and returns what it printed.
func (c *Commands) run(ctx context.Context, step, device string, argv []string, stdin []byte, env ...string) ([]byte, error) {
	if len(argv) == 0 {
		return nil, fmt.Errorf("device.commands.%s is not set", step)
	}
	whole := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	command.Dir = c.dir
	// Nothing secret is in it: keys go over standard input.
	command.Env = append(os.Environ(), append(env, "MINTMARK_STEP="+step, "MINTMARK_DEVICE="+device)...)
	command.Stdin = bytes.NewReader(stdin)
	out, errs := &limited{over: cancel}, &limited{}
	command.Stdout, command.Stderr = out, errs
	command.WaitDelay = c.held
	// A scanner may type into the terminal, which another group cannot read.
	own := step != "identify" || !c.Scanner
	if own {
		ownGroup(command)
	} else {
		wholeTree(command)
	}
	err := command.Run()
	if own && errors.Is(err, exec.ErrWaitDelay) {
		_ = command.Cancel() // what it has left would be at the device with the next step
		err = fmt.Errorf("%s ended, and what it had started still had its output: let it wait for that, or send the output elsewhere", argv[0])
	}
	var exit *exec.ExitError
	switch {
	case whole.Err() != nil:
		return nil, fmt.Errorf("%s did not end in time: %w", argv[0], whole.Err())
	case out.full:
		return nil, fmt.Errorf("%s printed more than %d bytes", argv[0], maxOutput)
	case errors.As(err, &exit):
		return nil, &exitError{argv[0], exit.ExitCode(), oneLine(errs.kept.String())}
	case err != nil:
		return nil, err
	}
	return out.kept.Bytes(), nil
}

// exitError is a program that did not do it.
type exitError struct {
	name string
	code int
	said string
}

func (e *exitError) Error() string {
	if e.said == "" {
		return fmt.Sprintf("%s ended with %d", e.name, e.code)
	}
	return fmt.Sprintf("%s ended with %d: %s", e.name, e.code, e.said)
}

func ended(err error, code int) bool {
	var exit *exitError
	return errors.As(err, &exit) && exit.code == code
}

// limited keeps what is written up to maxOutput, and drops the rest.
type limited struct {
	kept bytes.Buffer // not embedded: its ReadFrom knows no limit
	over func()       // called when there is more; nil for nothing
	full bool
}

func (l *limited) Write(p []byte) (int, error) {
	room := maxOutput - l.kept.Len()
	if len(p) > room {
		l.kept.Write(p[:room])
		l.full = true
		if l.over != nil {
			l.over()
		}
		return len(p), nil
	}
	return l.kept.Write(p)
}

// Identify runs identify, which prints the identifier.
func (c *Commands) Identify(ctx context.Context) (string, error) {
	out, err := c.run(ctx, "identify", "", c.CommandsConfig.Identify, nil)
	if ended(err, noDevice) {
		return "", ErrNoDevice
	}
	if err != nil {
		return "", err
	}
	device := strings.TrimSpace(string(out))
	if device == "" {
		return "", fmt.Errorf("%s printed no identifier: it ends with %d if there is no device", c.CommandsConfig.Identify[0], noDevice)
	}
	return device, nil
}

// Request runs request, which prints the certification request, in PEM or DER.
func (c *Commands) Request(ctx context.Context, device string) ([]byte, error) {
	out, err := c.run(ctx, "request", device, c.CommandsConfig.Request, nil)
	if err != nil {
		return nil, err
	}
	return requestIn(out)
}

// Install runs install. Its standard input has the certificate and its chain, after the
// key if the station has made one; MINTMARK_FILES is a folder with certificate.pem,
// chain.pem (what stands above), fullchain.pem and, if devices get them, roots.pem.
func (c *Commands) Install(ctx context.Context, device string, credentials Credentials) (err error) {
	dir, err := os.MkdirTemp("", "mintmark-station-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	full := certificatesPEM(append([]*x509.Certificate{credentials.Leaf}, credentials.Chain...)...)
	files := map[string][]byte{
		"certificate.pem": certificatesPEM(credentials.Leaf), "chain.pem": certificatesPEM(credentials.Chain...), "fullchain.pem": full,
	}
	if len(credentials.Roots) > 0 {
		files["roots.pem"] = certificatesPEM(credentials.Roots...)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	stdin := full
	if credentials.Key != nil {
		key, err := keyPEM(credentials.Key)
		if err != nil {
			return err
		}
		stdin = append(key, full...)
		defer clear(stdin)
		defer clear(key)
	}
	_, err = c.run(ctx, "install", device, c.CommandsConfig.Install, stdin, "MINTMARK_FILES="+dir)
	return err
}

// Verify runs verify, whose standard input is what the device is to sign. It prints the
// SHA-256 of the certificate that the device holds, in hexadecimal, and on a second line
// the signature, in base64, if it can.
func (c *Commands) Verify(ctx context.Context, device string, challenge Challenge) (Proof, error) {
	message := challenge.Message(sha256.Sum256(challenge.Leaf.Raw))
	out, err := c.run(ctx, "verify", device, c.CommandsConfig.Verify, message, "MINTMARK_NONCE="+hex.EncodeToString(challenge.Nonce[:]))
	if ended(err, noCertificate) {
		return Proof{}, ErrNoCertificate
	}
	if err != nil {
		return Proof{}, err
	}
	return parseProof(out)
}

// parseProof reads what verify prints. The fingerprint may be as openssl prints it, and
// the signature in several lines.
func parseProof(out []byte) (Proof, error) {
	var p Proof
	first, rest, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if i := strings.LastIndexByte(first, '='); i >= 0 {
		first = first[i+1:]
	}
	sum, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "", "\r", "").Replace(first))
	if err != nil || len(sum) != len(p.Fingerprint) {
		return Proof{}, fmt.Errorf("verify printed %q, and not the SHA-256 of a certificate in its first line", oneLine(first))
	}
	p.Fingerprint = [32]byte(sum)
	if p.Signature, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(rest), "")); err != nil {
		return Proof{}, fmt.Errorf("verify printed a signature that is no base64: %w", err)
	}
	return p, nil
}
