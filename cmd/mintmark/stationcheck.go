package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"mintmark/issuer/station"
)

func newStationCheck(a *app) *cobra.Command {
	var f stationFlags
	c := a.command("check [flags]", "Say whether a run could begin",
		`Check reads the configuration, looks whether queue and record can be used, the
server answers under the trust anchors and takes the credential, and devices
could be reached. It uses no unit of the order: to learn about the credential it
sends a request whose signature is wrong, which the server refuses and records.
It exits with 1 if something is not well.`,
		`  mintmark station check --config line-1.yaml
  mintmark station check --config line-1.yaml --url https://192.0.2.17:8443`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error { return a.stationCheck(c.Context(), &f) })
	f.bind(c)
	f.bindServer(c)
	return c
}

// stationPoint is a point of a check for a program.
type stationPoint struct {
	What  string `json:"what"`
	Well  bool   `json:"well"`
	Found string `json:"found"`
}

func (a *app) stationCheck(ctx context.Context, f *stationFlags) error {
	settings, err := f.read()
	if err != nil {
		return err
	}
	probes := []station.Probe{settings.ProbeWork()}
	l, err := a.connectLine(ctx, settings)
	if err != nil {
		probes = append(probes, station.Probe{What: "credential and trust anchors", Err: err})
	} else {
		defer l.close()
		limited, cancel := context.WithTimeout(ctx, settings.Timeout.Enroll)
		defer cancel()
		probes = append(probes, station.ProbeServer(limited, l.client, l.anchors, time.Now())...)
	}
	probes = append(probes, settings.ProbeDevice()...)
	probes = append(probes, settings.ProbeKeys()...)
	bad := 0
	list := []stationPoint{}
	for _, p := range probes {
		one := stationPoint{p.What, p.Err == nil, p.Found}
		if p.Err != nil {
			bad++
			one.Found = explainStation(p.Err).Error()
		}
		list = append(list, one)
	}
	if a.json {
		if err := a.printJSON(list); err != nil {
			return err
		}
	} else {
		t := newTable(a.out)
		for _, one := range list {
			state := "well"
			if !one.Well {
				state = "NOT"
			}
			t.row(state, one.What, one.Found)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d points are not well", bad, len(list))
	}
	return nil
}
