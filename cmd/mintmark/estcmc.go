package main

import (
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func newESTCMC(a *app) *cobra.Command {
	var f estFlags
	var request, out string
	c := a.command("cmc --url URL --request FILE --out FILE [flags]", "Send a CMC request",
		`Cmc sends a Full PKI Request (RFC 5272) that another program has made, and
writes the Full PKI Response in DER (RFC 7030, Section 4.3). It looks into
neither. A server that refuses may explain that in a response, too: it is
written, and the exit code is 1.`,
		"  mintmark est cmc --url https://ca.example.org --ca root.pem --cert press.pem --key press.key --request request.p7m --out response.p7m",
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			content, err := readFile(request, maxPEM)
			if err != nil {
				return err
			}
			if block, _ := pem.Decode(content); block != nil {
				if block.Type != "CMS" && block.Type != "PKCS7" {
					return fmt.Errorf("%s holds a %s and no CMC request", request, block.Type)
				}
				content = block.Bytes
			}
			if err := checkOut(out); err != nil {
				return err
			}
			done, err := a.openEST(c.Context(), &f)
			if err != nil {
				return err
			}
			defer done()
			var response []byte
			err = a.repeat(c.Context(), f.wait, func() (err error) {
				response, err = f.client.FullCMC(c.Context(), content)
				return err
			})
			if response == nil {
				return err
			}
			if err := errors.Join(err, replaceFile(out, response, 0o644)); err != nil {
				return err
			}
			a.say("CMC response of %d bytes in %s", len(response), out)
			if a.json {
				return a.printJSON(struct {
					Bytes int    `json:"bytes"`
					File  string `json:"file"`
				}{len(response), out})
			}
			return nil
		})
	f.bind(c)
	f.bindCredentials(c)
	c.Flags().StringVar(&request, "request", "", "`file` with the request, in DER or PEM")
	c.Flags().StringVar(&out, "out", "", "`file` for the response")
	require(c, "request", "out")
	return c
}
