package server

import (
	"fmt"
	"time"

	"mintmark/internal/config"
)

// risks says in words what a configuration allows that its operator may not
// have meant. None of it stops a server.
func risks(c *config.Config) []string {
	list := tokenRisks(c)
	for _, l := range c.Labels {
		risk := func(format string, args ...any) {
			list = append(list, fmt.Sprintf("label %q: ", l.Name)+fmt.Sprintf(format, args...))
		}
		anyone := l.Authorize == "trusted" && (len(l.Passwords) > 0 || len(l.RegistrationAuthorities) > 0)
		switch {
		case l.SecondKey == "allow" && l.Preset == "":
			risk("second_key allow lets whoever has a credential take over the name of an enrolled device")
		case l.SecondKey == "allow" && anyone:
			risk("whoever has a password can take over the name of an enrolled device, because IoT Edge needs second_key allow: use authorize inventory")
		}
		if l.Gateway != "" && anyone {
			risk("whoever has a password gets a CA certificate: use authorize inventory")
		}
		if len(l.RegistrationAuthorities) > 0 && l.Authorize == "trusted" && !l.Approval {
			risk("whoever has the key of a registration authority makes devices up, as many as they like: use authorize inventory")
		}
		if l.Maker != nil && l.Authorize == "trusted" && len(l.Maker.Subject) == 0 && !l.Approval && !l.Both {
			risk("every device of this maker may enroll, also those that were sold to others: set maker.subject, or authorize inventory")
		}
		if l.Renewal.Grace > 90*24*time.Hour {
			risk("renewal.grace is %d days: a key that is found in scrap renews itself for that long after its certificate's end", int(l.Renewal.Grace.Hours()/24))
		}
		if l.Keygen != nil && l.Keygen.Plain {
			risk("keygen.plain hands out private keys that only TLS protects: whoever breaks or terminates TLS on the way has them")
		}
		if l.Webhook != nil && l.Preset == "azure-iot-edge" {
			risk("if the webhook says hold, IoT Edge takes the 202 for an error")
		}
	}
	list = append(list, crlRisks(c)...)
	list = append(list, awsRisks(c)...)
	list = append(list, azureRisks(c)...)
	for _, p := range c.Limits.Prefixes() {
		if bits := p.Bits(); bits < 8 || p.Addr().Is6() && bits < 32 {
			list = append(list, fmt.Sprintf("limits.stations: behind %s is half a world, and for all of it no limit per address holds", p))
		}
	}
	return list
}
