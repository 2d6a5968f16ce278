package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newRotateWaive(a *app) *cobra.Command {
	var in admin.Waiver
	var file string
	c := a.command("waive ID [flags]", "Take devices out of the gates of a rotation",
		`Waive has the gates of a rotation go on without devices that cannot follow:
stock in a warehouse, devices that were lost or scrapped. It changes nothing for
a device, and one that follows all the same counts as moved. It takes two
persons, who sign how many devices they are and the hash of their names. A
waiver is not taken back.

--file is a CSV file whose first line names its columns, one of them device, or
- for standard input; what rotate devices --csv writes is one. A class that has
other devices when the waiver is carried out than when it was signed for is
refused: where it changes all the time, waive its devices by such a file.`,
		`  mintmark rotate waive k3f7q2xw4m --class never --reason "in the warehouse" \
      --dir ./factory
  mintmark rotate devices k3f7q2xw4m --class never --csv --dir ./factory |
      mintmark rotate waive k3f7q2xw4m --file - --reason "in the warehouse" \
      --dir ./factory
  mintmark rotate waive k3f7q2xw4m --device press-0042 --reason scrapped \
      --dir ./factory`, cobra.ExactArgs(1),
		func(c *cobra.Command, args []string) error {
			if file != "" {
				rows, err := a.readAnchorRows(file, anchorColumns...)
				if err != nil {
					return err
				}
				for _, row := range rows {
					in.Devices = append(in.Devices, row["device"])
				}
			}
			if len(in.Devices) > admin.MaxWaived {
				return usagef("%d devices are named, and one waiver takes %d: use --order or --class, or several files", len(in.Devices), admin.MaxWaived)
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				done, err := client.WaiveDevices(c.Context(), args[0], in)
				if err != nil {
					return noRotation(args[0], err)
				}
				if a.json {
					return a.printJSON(done)
				}
				_, err = fmt.Fprintf(a.out, "waived %s (SHA-256 of their names %s)\n", things(int64(done.Devices), "device"), done.Hash)
				return err
			})
		})
	f := c.Flags()
	f.StringArrayVar(&in.Devices, "device", nil, "this `device`; may be given several times")
	f.StringVar(&file, "file", "", "the devices in this CSV `file`")
	f.StringVar(&in.Order, "order", "", "those of this work `order` that have not moved")
	f.StringVar(&in.Class, "class", "", "all of this `class`: left, silent, never, expired")
	f.StringVar(&in.Reason, "reason", "", "why, for whoever meets them later")
	require(c, "reason")
	c.MarkFlagsMutuallyExclusive("device", "file", "order", "class")
	c.MarkFlagsOneRequired("device", "file", "order", "class")
	return c
}

func newRotateReported(a *app) *cobra.Command {
	var file string
	c := a.command("reported ID [flags]", "Say which devices have the new anchors, for an update system",
		`Reported notes for a rotation what another system knows: that devices were given
firmware with the new anchors. --file is a CSV file whose first line names its
columns, or - for standard input:

  device  must be there
  at      since when, as 2027-01-31T12:00:00Z; now if empty
  chains  yes if the device shows the path under the new root, too

Names that no device of the rotation has are counted and left out. What is
reported counts in the gates, and so it takes two persons, who sign the number
of devices and the hash of what is said of them; a file of more than 5000 is
proposed in parts.`,
		"  mintmark rotate reported k3f7q2xw4m --file updated.csv --dir ./factory", cobra.ExactArgs(1),
		func(c *cobra.Command, args []string) error {
			rows, err := a.readAnchorRows(file, "device", "at", "chains")
			if err != nil {
				return err
			}
			devices, err := reportedRows(file, rows)
			if err != nil {
				return err
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				return a.reportAnchors(c.Context(), client, args[0], devices)
			})
		})
	c.Flags().StringVar(&file, "file", "", "CSV `file` with the devices")
	require(c, "file")
	return c
}

// reportedRows reads what a file says of each device.
func reportedRows(file string, rows []map[string]string) ([]admin.ReportedDevice, error) {
	var devices []admin.ReportedDevice
	for i, row := range rows {
		d := admin.ReportedDevice{Device: row["device"]}
		if text := row["at"]; text != "" {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return nil, fmt.Errorf("%s: row %d: at %q is not a time as in 2027-01-31T12:00:00Z", file, i+1, text)
			}
			d.At = &at
		}
		switch text := strings.ToLower(row["chains"]); text {
		case "", "no", "false", "0":
		case "yes", "true", "1":
			d.Chains = true
		default:
			return nil, fmt.Errorf("%s: row %d: chains %q is neither yes nor no", file, i+1, text)
		}
		devices = append(devices, d)
	}
	return devices, nil
}

func (a *app) reportAnchors(ctx context.Context, client *admin.Client, id string, devices []admin.ReportedDevice) error {
	var sum admin.AnchorReported
	var proposed []error
	for chunk := range slices.Chunk(devices, admin.MaxReported) {
		done, err := client.ReportAnchors(ctx, id, admin.AnchorReport{Devices: chunk})
		var waits *admin.Proposed
		if errors.As(err, &waits) {
			proposed = append(proposed, err)
			continue
		}
		if err != nil {
			if len(proposed) > 0 {
				return fmt.Errorf("%w; %d parts of the file were proposed before that: mintmark approval list shows them", noRotation(id, err), len(proposed))
			}
			if sum.Noted > 0 {
				return fmt.Errorf("%w; %s noted before that, and the same file may be given again", noRotation(id, err), things(int64(sum.Noted), "device"))
			}
			return noRotation(id, err)
		}
		sum.Noted, sum.Unknown = sum.Noted+done.Noted, sum.Unknown+done.Unknown
		if len(sum.Names) == 0 {
			sum.Names = done.Names
		}
	}
	if len(proposed) > 0 {
		return errors.Join(proposed...)
	}
	if a.json {
		return a.printJSON(sum)
	}
	if _, err := fmt.Fprintf(a.out, "noted %s\n", things(int64(sum.Noted), "device")); err != nil {
		return err
	}
	if sum.Unknown > 0 {
		a.say("left out %s that no device of this rotation has: %s", things(int64(sum.Unknown), "name"), strings.Join(sum.Names, ", "))
	}
	return nil
}

// maxAnchorRows bounds a file with devices.
const maxAnchorRows = 1_000_000

// readAnchorRows reads a CSV file whose first line names its columns, of which device must
// be one and no other than the allowed ones may be there.
func (a *app) readAnchorRows(file string, allowed ...string) ([]map[string]string, error) {
	content, err := a.readAll(file)
	if err != nil {
		return nil, err
	}
	rows, err := parseAnchorRows(strings.NewReader(string(content)), allowed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return rows, nil
}

func parseAnchorRows(content io.Reader, allowed []string) ([]map[string]string, error) {
	r := csv.NewReader(content)
	r.TrimLeadingSpace = true
	heading, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty: its first line must name the columns, as device")
	}
	if err != nil {
		return nil, err
	}
	for i, name := range heading {
		heading[i] = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff"))) // spreadsheets write a byte order mark
		if !slices.Contains(allowed, heading[i]) {
			return nil, fmt.Errorf("there is no column %q; there are %s", name, strings.Join(allowed, ", "))
		}
		if slices.Contains(heading[:i], heading[i]) {
			return nil, fmt.Errorf("column %q is there twice", heading[i])
		}
	}
	if !slices.Contains(heading, "device") {
		return nil, errors.New("its first line names no column device")
	}
	var rows []map[string]string
	seen := make(map[string]int)
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(rows) >= maxAnchorRows {
			return nil, errors.New("it has more than " + strconv.Itoa(maxAnchorRows) + " rows")
		}
		row := make(map[string]string, len(heading))
		for i, name := range heading {
			row[name] = strings.TrimSpace(record[i])
		}
		device := row["device"]
		if device == "" {
			return nil, fmt.Errorf("row %d names no device", len(rows)+1)
		}
		if before := seen[device]; before > 0 {
			return nil, fmt.Errorf("device %q is in rows %d and %d", device, before, len(rows)+1)
		}
		seen[device] = len(rows) + 1
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil, errors.New("it names no device")
	}
	return rows, nil
}
