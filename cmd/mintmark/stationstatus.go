package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"mintmark/issuer/station"
)

func newStationStatus(a *app) *cobra.Command {
	var f stationFlags
	c := a.command("status [flags]", "Show which devices wait",
		`Status lists the devices that the station has begun and not done with: those
that wait for the server, and those whose certificate is here and that must be
put back. It asks nobody, and works while a run goes on.`,
		`  mintmark station status --config line-1.yaml
  mintmark station status --config line-1.yaml --json`,
		cobra.NoArgs, func(*cobra.Command, []string) error {
			settings, err := f.load()
			if err != nil {
				return err
			}
			list, err := station.ReadQueue(filepath.Join(settings.Folder(), "queue"))
			if err != nil {
				return err
			}
			return a.showWaiting(list)
		})
	f.bind(c)
	return c
}

// waitingDevice is a device of the queue for a program.
type waitingDevice struct {
	Device string    `json:"device"`
	State  string    `json:"state"`
	Since  time.Time `json:"since"`
	Serial string    `json:"serial,omitempty"`
	Text   string    `json:"text"`
}

func (a *app) showWaiting(list []station.Entry) error {
	shown := []waitingDevice{}
	for _, e := range list {
		state, text := describeWaiting(e)
		shown = append(shown, waitingDevice{e.Device, state, e.Since, serialOf(e), text})
	}
	if a.json {
		return a.printJSON(struct {
			Devices []waitingDevice `json:"devices"`
		}{shown})
	}
	if len(shown) == 0 {
		a.say("no device waits")
		return nil
	}
	t := newTable(a.out, "DEVICE", "STATE", "SINCE", "CERTIFICATE", "WHAT")
	for _, w := range shown {
		t.row(w.Device, w.State, date(w.Since), w.Serial, w.Text)
	}
	return t.flush()
}

func newStationFlush(a *app) *cobra.Command {
	f := stationFlags{noDevice: true}
	c := a.command("flush [flags]", "Get the certificates of the devices that wait",
		`Flush asks the server once for every certificate that devices wait for, without
a device, and lists what then still waits, and why. A request on which the
server fails keeps no other one waiting. It exits with 1 if some still wait for
the server. It does not work while a run goes on, which does the same.`,
		`  mintmark station flush --config line-1.yaml`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			settings, err := f.read()
			if err != nil {
				return err
			}
			return a.withStation(c.Context(), settings, &f, func(s *station.Station) error {
				left, err := s.Flush(c.Context())
				err = errors.Join(err, a.showWaiting(s.Waiting()))
				if err == nil && left > 0 {
					err = fmt.Errorf("%s for the server: the list says why", stillWait(left))
				}
				return err
			})
		})
	f.bind(c)
	f.bindServer(c)
	return c
}

func stillWait(n int) string {
	if n == 1 {
		return "1 device still waits"
	}
	return fmt.Sprintf("%d devices still wait", n)
}

// withStation opens a station for what needs no device.
func (a *app) withStation(ctx context.Context, settings *station.Config, f *stationFlags, fn func(*station.Station) error) error {
	show := &board{a: a}
	s, l, err := a.openStation(ctx, settings, f, func(o *station.Options) { o.Report = show.report })
	if err != nil {
		return err
	}
	return errors.Join(fn(s), s.Close(), l.close())
}

func newStationForget(a *app) *cobra.Command {
	f := stationFlags{noDevice: true}
	var note string
	var yes bool
	c := a.command("forget DEVICE --note TEXT [flags]", "Take a device out of the queue",
		`Forget is for a device that will not come back, or that has lost the key of its
request. The record gets a line with the certificate that was issued for it, if
there is one: revoke that at the server. A device that is recorded as done is
provisioned anew when it comes again.`,
		`  mintmark station forget SN-00017 --note "scrapped, ticket 4711" --yes --config line-1.yaml`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			settings, err := f.read()
			if err != nil {
				return err
			}
			if !yes {
				if err := a.confirm(fmt.Sprintf("Device %s is forgotten, and what was issued for it is not put into it any more.", printable(args[0])), "--yes"); err != nil {
					return err
				}
			}
			return a.withStation(c.Context(), settings, &f, func(s *station.Station) error {
				l, ok, err := s.Forget(args[0], note)
				switch {
				case err != nil:
					return err
				case !ok:
					return fmt.Errorf("device %s does not wait here, and is not recorded as done", printable(args[0]))
				case l.Serial != "":
					a.say("forgotten: at the server, mintmark cert revoke %s --reason superseded", l.Serial)
				default:
					a.say("forgotten: if the server has issued a certificate for it, mintmark device show %s says so there", l.Device)
				}
				return nil
			})
		})
	f.bind(c)
	f.bindServer(c)
	c.Flags().StringVar(&note, "note", "", "`text` for the record: why")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	require(c, "note")
	return c
}
