package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/internal/server"
)

func newConfig(a *app) *cobra.Command {
	c := a.group("config", "Check the configuration", "Config works on mintmark.yaml in the state directory.",
		"  mintmark config check --dir ./factory")
	c.AddCommand(a.command("check", "Say what is wrong with the configuration, and what is unwise",
		`Check reads mintmark.yaml as the server would, and holds it against the CAs that
exist. What would stop the server is an error; what is unwise is a warning.`,
		"  mintmark config check --dir ./factory",
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			warnings, err := server.CheckConfig(c.Context(), a.dir)
			if err != nil {
				return err
			}
			err = a.withClient(c.Context(), func(client *admin.Client) error {
				list, err := client.Authorities(c.Context())
				if err != nil {
					return err
				}
				known := make(map[string]*x509.Certificate)
				for _, one := range list {
					if one.NotAfter == nil {
						continue // it waits for its certificate
					}
					if one, err = client.Authority(c.Context(), one.Name); err != nil {
						return err
					}
					block, _ := pem.Decode([]byte(one.Certificate))
					if block == nil {
						return fmt.Errorf("authority %q has no certificate in PEM", one.Name)
					}
					if known[one.Name], err = x509.ParseCertificate(block.Bytes); err != nil {
						return fmt.Errorf("parsing the certificate of authority %q: %w", one.Name, err)
					}
				}
				more, err := server.CheckAuthorities(a.dir, known, time.Now())
				warnings = append(warnings, more...)
				if err != nil {
					return err
				}
				replaced, err := replacedCAs(c.Context(), client, a.dir)
				warnings = append(warnings, replaced...)
				if err != nil {
					return err
				}
				status, err := client.Status(c.Context())
				for _, r := range status.Rotations {
					warnings = append(warnings, "rotation "+r.ID+" runs: "+rotationWords(r))
				}
				if err == nil && status.Unprotected != "" {
					warnings = append(warnings, status.Unprotected)
				}
				return err
			})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					Valid    bool     `json:"valid"`
					Warnings []string `json:"warnings"`
				}{true, append([]string{}, warnings...)})
			}
			for _, w := range warnings {
				a.say("warning: %s", w)
			}
			a.say("the configuration is valid")
			return nil
		}))
	return c
}
