package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

// maxSecretFile bounds a file of devices or of one-time secrets, in bytes.
const maxSecretFile = 512 << 20

func newDeviceSecret(a *app) *cobra.Command {
	c := a.group("secret", "Make, import and drop one-time secrets of devices", `Secret works on one-time secrets: each lets one device have one certificate, at
labels with one_time: true, where it is the password and the device is the
user.`,
		"  mintmark device secret create press-0042 --out press-0042.csv --dir ./factory\n  mintmark device secret drop press-0042 --dir ./factory")
	c.AddCommand(newDeviceSecretCreate(a), newDeviceSecretImport(a), newDeviceSecretDrop(a))
	return c
}

func newDeviceSecretCreate(a *app) *cobra.Command {
	var order, from, out string
	var length span
	c := a.command("create (DEVICE... | --order ID | --from FILE) --out FILE [flags]", "Make one-time secrets", `Create has the server make a secret of 130 bits for each device, in place of
the one that it had, and writes them as CSV with the columns device and secret
to a file, mode 0600. They are nowhere else: the server keeps their SHA-256.
With --order it makes one for each device that is listed under the work order
and has no certificate yet; --from names a file with a device a line.`,
		`  mintmark device secret create press-0042 press-0043 --out secrets.csv --dir ./factory
  mintmark device secret create --order WO-117 --ttl 14d --out WO-117.csv --dir ./factory`, cobra.ArbitraryArgs,
		func(c *cobra.Command, args []string) error {
			given := 0
			for _, is := range []bool{len(args) > 0, order != "", from != ""} {
				if is {
					given++
				}
			}
			if given != 1 {
				return usagef("the devices must be given in one way: as arguments, by --order or by --from")
			}
			devices := args
			if from != "" {
				var err error
				if devices, err = a.readDevices(from); err != nil {
					return err
				}
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				if order != "" {
					var err error
					if devices, err = expectedOf(c.Context(), client, order); err != nil {
						return err
					}
				}
				return a.createSecrets(c.Context(), client, devices, seconds(length), out)
			})
		})
	f := c.Flags()
	f.StringVar(&order, "order", "", "the devices that are listed under this work `order` and have no certificate")
	f.StringVar(&from, "from", "", "`file` with a device a line; - for standard input")
	f.Var(&length, "ttl", "how long they are taken, as in 720h (default 30d)")
	f.StringVar(&out, "out", "", "`file` for the secrets; it must not exist")
	require(c, "out")
	return c
}

// seconds is a length of time on the wire.
func seconds(s span) int64 {
	if s.text == "" {
		return 0
	}
	now := time.Now()
	return int64(s.after(now).Sub(now) / time.Second)
}

// readDevices reads a device a line.
func (a *app) readDevices(name string) ([]string, error) {
	content, err := a.readAll(name)
	if err != nil {
		return nil, err
	}
	var devices []string
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		if device := strings.TrimSpace(lines.Text()); device != "" {
			devices = append(devices, device)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(devices) == 0 {
		return nil, fmt.Errorf("%s names no device", name)
	}
	return devices, nil
}

// readAll reads a file, or standard input for -.
func (a *app) readAll(name string) ([]byte, error) {
	if name != "-" {
		return readFile(name, maxSecretFile)
	}
	content, err := io.ReadAll(io.LimitReader(a.in, maxSecretFile+1))
	if err == nil && len(content) > maxSecretFile {
		err = fmt.Errorf("standard input is larger than %d bytes", maxSecretFile)
	}
	return content, err
}

// expectedOf lists the devices of a work order that have no certificate yet.
func expectedOf(ctx context.Context, client *admin.Client, order string) ([]string, error) {
	q := admin.DeviceQuery{Order: order, State: admin.Expected, Limit: admin.MaxPage}
	var devices []string
	for {
		page, err := client.Devices(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, d := range page.Devices {
			devices = append(devices, d.ID)
		}
		if page.Next == "" {
			break
		}
		q.After = page.Next
	}
	if len(devices) == 0 {
		return nil, fmt.Errorf("no device is listed under work order %q that has no certificate yet", order)
	}
	return devices, nil
}

// createSecrets makes the file before it asks, so that secrets that are shown
// once have a place, and writes each answer before it asks for the next.
func (a *app) createSecrets(ctx context.Context, client *admin.Client, devices []string, ttl int64, out string) error {
	file, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists, and secrets are never overwritten: name another file", out)
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString("device,secret\n")
	made := 0
	var expires time.Time
	for chunk := range slices.Chunk(devices, admin.MaxSecrets) {
		if err != nil {
			break
		}
		var got admin.SecretsMade
		if got, err = client.CreateSecrets(ctx, admin.SecretSpec{Devices: chunk, TTLSeconds: ttl}); err != nil {
			break
		}
		var text strings.Builder
		for _, one := range got.Secrets {
			text.WriteString(one.Device + "," + one.Secret + "\n")
		}
		if _, err = file.WriteString(text.String()); err == nil {
			err = file.Sync()
			made, expires = made+len(got.Secrets), got.ExpiresAt
		}
	}
	err = errors.Join(err, file.Close())
	switch {
	case err != nil && made == 0 && certainly(err):
		return errors.Join(err, os.Remove(out))
	case err != nil:
		return fmt.Errorf("%w\n%s has the secrets of %d of %s; the next %d may have new ones that nobody knows: make those again", err, out, made, things(int64(len(devices)), "device"), min(admin.MaxSecrets, len(devices)-made))
	}
	if a.json {
		return a.printJSON(secretsReport{Devices: made, File: out, ExpiresAt: expires})
	}
	_, err = fmt.Fprintf(a.out, "%s: the secrets are in %s and nowhere else; they are taken until %s\n", things(int64(made), "device"), out, date(expires))
	return err
}

// secretsReport is what commands print of one-time secrets: never themselves.
type secretsReport struct {
	Devices   int       `json:"devices"`
	File      string    `json:"file"`
	ExpiresAt time.Time `json:"expires_at"`
}

// certainly reports whether an error means that nothing was done.
func certainly(err error) bool {
	var refusal *admin.Error
	return errors.As(err, &refusal) && refusal.Status < http.StatusInternalServerError
}

func newDeviceSecretImport(a *app) *cobra.Command {
	var length span
	c := a.command("import FILE [flags]", "Record one-time secrets that were made elsewhere", `Import records the secrets of a CSV file with the columns device and secret: at
least 16 characters each, printable ASCII, and for each device another one. The
server keeps their SHA-256, which protects a secret no better than its
randomness does: those that device secret create makes are better. Use - to
read standard input. Delete the file when the devices have theirs.`,
		"  mintmark device secret import secrets.csv --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			content, err := a.readAll(args[0])
			if err != nil {
				return err
			}
			list, err := admin.ReadSecrets(bytes.NewReader(content))
			if err != nil {
				return fmt.Errorf("%s: nothing was recorded: %w", args[0], err)
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				done := secretsReport{File: args[0]}
				for chunk := range slices.Chunk(list, admin.MaxSecrets) {
					got, err := client.ImportSecrets(c.Context(), admin.SecretImport{Secrets: chunk, TTLSeconds: seconds(length)})
					if err != nil {
						return fmt.Errorf("%w\n%d of %s have theirs; import the file again when this is put right", err, done.Devices, things(int64(len(list)), "device"))
					}
					done.Devices, done.ExpiresAt = done.Devices+got.Devices, got.ExpiresAt
				}
				if a.json {
					return a.printJSON(done)
				}
				_, err := fmt.Fprintf(a.out, "%s: the secrets are recorded, and taken until %s\n", things(int64(done.Devices), "device"), date(done.ExpiresAt))
				return err
			})
		})
	c.ValidArgsFunction = nil // files
	c.Flags().Var(&length, "ttl", "how long they are taken, as in 720h (default 30d)")
	return c
}

func newDeviceSecretDrop(a *app) *cobra.Command {
	return a.command("drop DEVICE", "Take the one-time secret of a device away", "Drop has the one-time secret of a device refused from now on.",
		"  mintmark device secret drop press-0042 --dir ./factory", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.withClient(c.Context(), func(client *admin.Client) error {
				if err := client.DropSecret(c.Context(), args[0]); err != nil {
					return err
				}
				if a.json {
					return a.printJSON(struct {
						Device string `json:"device"`
					}{args[0]})
				}
				_, err := fmt.Fprintf(a.out, "%s has no one-time secret any more\n", printable(args[0]))
				return err
			})
		})
}

// secretWords says of a device whether it has a one-time secret.
func secretWords(s *admin.SecretState, now time.Time) string {
	switch {
	case s == nil:
		return ""
	case s.Serial != "":
		return "used for " + s.Serial
	case !now.Before(s.ExpiresAt):
		return "expired " + date(s.ExpiresAt)
	}
	return "until " + date(s.ExpiresAt) + ", by " + s.Actor
}
