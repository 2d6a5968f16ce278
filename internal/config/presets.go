package config

// Presets of profiles that labels ask for by name.
const (
	presetIoTEdge = "azure-iot-edge"
	presetGateway = "azure-edge-ca"
	presetRA      = "registration-authority"
)

// complete fills in what a label leaves out, from its preset first.
func (l *Label) complete() {
	or := func(value *string, fallback string) {
		if *value == "" {
			*value = fallback
		}
	}
	if l.Preset == presetIoTEdge {
		// One device has several keys there: those of its EST identity, of its
		// device identity and of the renewal that is under way.
		or(&l.SecondKey, "allow")
		// What cacerts holds is appended to the certificate as its chain.
		or(&l.CACerts, "path")
		or(&l.ProofOfPossession, "off")
	}
	or(&l.SecondKey, "hold")
	or(&l.CACerts, "full")
	or(&l.ProofOfPossession, "optional")
}
