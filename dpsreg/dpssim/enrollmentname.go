package dpssim

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
)

// attributeNames are the short names that .NET prints; other types are printed as OIDs.
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.5": "SERIALNUMBER", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "S",
	"2.5.4.9": "STREET", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "T", "0.9.2342.19200300.100.1.25": "DC",
	"1.2.840.113549.1.9.1": "E", "2.5.4.4": "SN", "2.5.4.42": "G",
}

// distinguishedName prints a name as .NET does: the last part of the encoding first.
func distinguishedName(raw []byte) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &name); err != nil || len(rest) > 0 {
		return ""
	}
	var parts []string
	for _, rdn := range slices.Backward(name) {
		var set []string
		for _, a := range rdn {
			label, ok := attributeNames[a.Type.String()]
			if !ok {
				label = "OID." + a.Type.String()
			}
			value := fmt.Sprint(a.Value)
			if strings.ContainsAny(value, ",+=\"\n<>#;") || strings.TrimSpace(value) != value {
				value = `"` + strings.ReplaceAll(value, `"`, `""`) + `"`
			}
			set = append(set, label+"="+value)
		}
		parts = append(parts, strings.Join(set, " + "))
	}
	return strings.Join(parts, ", ")
}
