package issuer

// SecondKey says what becomes of a request, by a bootstrap credential, for
// another key of a device that has a certificate in force: it may be a clone.
// Every such request that is not allowed raises an alarm.
type SecondKey string

const (
	RefuseSecondKey SecondKey = "refuse" // also the zero value
	HoldSecondKey   SecondKey = "hold"   // a person decides
	AllowSecondKey  SecondKey = "allow"
)
