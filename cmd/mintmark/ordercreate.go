package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newOrderCreate(a *app) *cobra.Command {
	var in admin.OrderSpec
	var ranges []string
	var notBefore, devices string
	var end windowEnd
	var credential credentialFlags
	c := a.command("create ID --label NAME --quantity N (--not-after DATE | --for TIME) [--secret-out FILE | --claim-out FILE] [flags]",
		"Make a work order and its credential", `Create makes a work order and writes its credential to a file: with
--secret-out the line ID:secret, mode 0400; with --claim-out a key that is made
here, its claim certificate and the chain, mode 0600. The server keeps neither.
Devices are bounded by --range or by a list. With --devices the list is imported
first, as device import --order does; if it is refused, no order is made.

An order for a fleet at AWS has the label aws:TARGET/TEMPLATE and no secret:
mintmark aws claim create makes its claim certificates.`,
		`  mintmark order create WO-117 --product "pump 3" --label line-1 --quantity 1000 --range SN-00001..SN-01000 --from 10.20.0.0/16 --for 14d --secret-out WO-117.credential --dir ./factory
  mintmark order create WO-118 --label line-1 --quantity 200 --devices devices.csv --not-after 2027-01-31 --claim-out WO-118.pem --dir ./factory
  mintmark order create WO-119 --label aws:line-a/pumps --quantity 200 --devices devices.csv --for 14d --dir ./factory`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			if err := credential.fits(in.Label); err != nil {
				return err
			}
			now := time.Now()
			in.ID = args[0]
			start := now
			if notBefore != "" {
				var err error
				if start, err = parseMoment(notBefore, now); err != nil {
					return usagef("--not-before: %w", err)
				}
				in.NotBefore = &start
			}
			var err error
			if in.NotAfter, err = end.time(start, now); err != nil {
				return err
			}
			for _, text := range ranges {
				first, last, ok := strings.Cut(text, "..")
				if !ok {
					return usagef("--range %q is not FIRST..LAST, as in SN-00001..SN-01000", text)
				}
				in.Ranges = append(in.Ranges, admin.Range{First: first, Last: last})
			}
			list := admin.ListImport{Order: in.ID, Product: in.Product}
			if devices != "" {
				in.Listed = true
				if devices == "-" {
					return usagef("--devices - cannot be: put the list into a file")
				}
				if err := listFormat(&list, devices, ""); err != nil {
					return err
				}
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				var listed admin.ListImported
				if err := credential.create(a, in.ID, func(csr string) (admin.OrderCredential, error) {
					var err error
					if listed, err = a.listOrder(c.Context(), client, in.ID, devices, list); err != nil {
						return admin.OrderCredential{}, err
					}
					in.ClaimCSR = csr
					made, err := client.CreateOrder(c.Context(), in)
					if err != nil && listed.ID != "" {
						err = fmt.Errorf("%w\nthe devices are listed, and no work order was made: put it right, and run the same command again", err)
					}
					return made, err
				}); err != nil || devices == "" || a.json { // which has printed the order; device list --order has the rest
					return err
				}
				return a.printImported(listed, list)
			})
		})
	f := c.Flags()
	f.StringVar(&in.Product, "product", "", "what is made, for people and searches")
	f.StringVar(&in.Profile, "profile", "", "`name` of the profile (default that of the label)")
	f.StringVar(&in.Label, "label", "", "EST `label` that takes the credential, or aws:TARGET/TEMPLATE for a fleet")
	f.StringVar(&in.Station, "station", "", "line or station that it is for, for people and searches")
	f.IntVar(&in.Quantity, "quantity", 0, "`number` of certificates")
	f.StringArrayVar(&ranges, "range", nil, "identifiers of devices, `FIRST..LAST`; may be repeated")
	f.StringVar(&devices, "devices", "", "`file` with the devices; no others are admitted")
	f.BoolVar(&in.Listed, "listed", false, "admit only devices that the inventory lists under this order")
	f.StringArrayVar(&in.Networks, "from", nil, "take the credential only from this `network`, as in 10.20.0.0/16; may be repeated")
	f.StringVar(&notBefore, "not-before", "", "beginning of the window, a `date` or a time (default now)")
	end.bind(c, "from its beginning")
	credential.bind(c, true, true)
	require(c, "label", "quantity")
	return c
}

// listOrder imports the list of an order that is about to be made. The list comes
// first: an order whose list is refused would be there without it, and its name
// taken. An order that is there already gets no further devices by this.
func (a *app) listOrder(ctx context.Context, client *admin.Client, id, file string, list admin.ListImport) (admin.ListImported, error) {
	if file == "" {
		return admin.ListImported{}, nil
	}
	if _, err := client.Order(ctx, id); err == nil || !admin.IsNotFound(err) {
		return admin.ListImported{}, err // CreateOrder says it
	}
	done, err := a.importList(ctx, client, file, list)
	if err != nil {
		return done, fmt.Errorf("no work order was made: %w\nif the list is right and what is listed is not, mintmark device import %s --order %s --update has it changed first", err, file, id)
	}
	return done, nil
}
