package awssim

// domainSettings are the settings that creating and updating a domain
// configuration share.
type domainSettings struct {
	ClientCertificateConfig *struct {
		CallbackARN string `json:"clientCertificateCallbackArn"`
	} `json:"clientCertificateConfig"`
	TLSConfig *struct {
		SecurityPolicy string `json:"securityPolicy"`
	} `json:"tlsConfig"`
	ServerCertificateConfig *struct {
		EnableOCSPCheck bool `json:"enableOCSPCheck"`
	} `json:"serverCertificateConfig"`
	AuthenticationType  string `json:"authenticationType"`
	ApplicationProtocol string `json:"applicationProtocol"`
}

// apply checks the settings and puts them into d. An empty callback ARN takes the
// callback away; how AWS wants that said is not documented.
func (in *domainSettings) apply(w *world, d *domainConfiguration) error {
	if c := in.ClientCertificateConfig; c != nil {
		if arn := c.CallbackARN; arn != "" {
			m := functionARN.FindStringSubmatch(arn)
			if m == nil || m[1] != w.region || m[2] != w.account.ID {
				return invalid("clientCertificateCallbackArn %q is not the ARN of a Lambda function of this account and Region", clip(arn, 200))
			}
		}
		d.callback = c.CallbackARN
	}
	if t := in.TLSConfig; t != nil && t.SecurityPolicy != "" {
		if _, ok := securityPolicies[t.SecurityPolicy]; !ok {
			return invalid("The security policy %s does not exist, or this AWS simulator does not have it", clip(t.SecurityPolicy, 128))
		}
		d.security = t.SecurityPolicy
	}
	if s := in.ServerCertificateConfig; s != nil && s.EnableOCSPCheck {
		return noOperation("OCSP stapling of server certificates")
	}
	switch in.AuthenticationType {
	case "":
	case "DEFAULT", "AWS_X509":
		d.authentication = in.AuthenticationType
	case "CUSTOM_AUTH_X509", "CUSTOM_AUTH", "AWS_SIGV4":
		return noOperation("the authentication type " + in.AuthenticationType)
	default:
		return invalid("authenticationType %q does not exist", clip(in.AuthenticationType, 64))
	}
	switch in.ApplicationProtocol {
	case "":
	case "DEFAULT", "SECURE_MQTT":
		d.protocol = in.ApplicationProtocol
	case "MQTT_WSS", "HTTPS":
		return noOperation("the application protocol " + in.ApplicationProtocol)
	default:
		return invalid("applicationProtocol %q does not exist", clip(in.ApplicationProtocol, 64))
	}
	// AWS IoT developer guide, customize-client-auth: the authentication type must
	// be X.509 certificate. Whether DEFAULT is taken for one is not said; here it is.
	return nil
}

func createDomain(c *call) (any, error) {
	var in struct {
		domainSettings
		ServiceType string `json:"serviceType"`
		Tags        []tag  `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	name := c.path["domainConfigurationName"]
	if name == standardDomain {
		return nil, alreadyExists(name, c.w.domainARN(name), "The domain configuration %s already exists", name)
	}
	if !domainName.MatchString(name) {
		return nil, invalid("domainConfigurationName %q: want 1 to 128 letters, digits or _.-", clip(name, 160))
	}
	if in.ServiceType != "" && in.ServiceType != "DATA" {
		return nil, noOperation("the service type " + clip(in.ServiceType, 64))
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if _, ok := c.w.domain.configs[name]; ok {
		return nil, alreadyExists(name, c.w.domainARN(name), "The domain configuration %s already exists", name)
	}
	if len(c.w.domain.configs) > maxDomains {
		return nil, iotError("LimitExceededException", "There are already %d domain configurations", maxDomains)
	}
	d := &domainConfiguration{name: name, enabled: true, authentication: "DEFAULT", protocol: "DEFAULT", security: standardSecurity, changed: c.w.now()}
	if err := in.apply(c.w, d); err != nil {
		return nil, err
	}
	d.seq = c.w.next()
	c.w.domain.configs[name] = d
	c.w.sim.tls.addDomain(c.w.serverNameOf(name), c.w.account.ID, c.w.region, name)
	c.w.setTags(c.w.domainARN(name), in.Tags)
	return map[string]string{"domainConfigurationName": name, "domainConfigurationArn": c.w.domainARN(name)}, nil
}

func describeDomain(c *call) (any, error) {
	d, err := c.w.findDomain(c.path["domainConfigurationName"])
	if err != nil {
		return nil, err
	}
	out := map[string]any{
		"domainConfigurationName": d.name, "domainConfigurationArn": c.w.domainARN(d.name), "domainName": c.w.serverNameOf(d.name),
		"serverCertificates": []any{}, "domainConfigurationStatus": d.status(), "serviceType": "DATA", "domainType": "AWS_MANAGED",
		"lastStatusChangeDate": epoch(d.changed), "tlsConfig": map[string]string{"securityPolicy": d.security},
		"serverCertificateConfig": map[string]bool{"enableOCSPCheck": false},
		"authenticationType":      d.authentication, "applicationProtocol": d.protocol,
	}
	if d.changed.IsZero() {
		delete(out, "lastStatusChangeDate")
	}
	if d.callback != "" {
		out["clientCertificateConfig"] = map[string]string{"clientCertificateCallbackArn": d.callback}
	}
	return out, nil
}

func (d *domainConfiguration) status() string {
	if d.enabled {
		return "ENABLED"
	}
	return "DISABLED"
}

func listDomains(c *call) (any, error) {
	switch v := c.query.Get("serviceType"); v {
	case "", "DATA":
	case "CREDENTIAL_PROVIDER", "JOBS":
		return map[string]any{"domainConfigurations": []any{}}, nil
	default:
		return nil, invalid("serviceType %q does not exist", clip(v, 64))
	}
	seq := func(d *domainConfiguration) int64 { return d.seq }
	page, marker, err := paginate(c, sorted(c.w.domain.configs, seq), seq, "pageSize", "marker", true)
	if err != nil {
		return nil, err
	}
	out := []map[string]string{}
	for _, d := range page {
		out = append(out, map[string]string{
			"domainConfigurationName": d.name, "domainConfigurationArn": c.w.domainARN(d.name), "serviceType": "DATA",
		})
	}
	return withMarker(map[string]any{"domainConfigurations": out}, "nextMarker", marker), nil
}

func updateDomain(c *call) (any, error) {
	var in struct {
		domainSettings
		Status           string `json:"domainConfigurationStatus"`
		RemoveAuthorizer bool   `json:"removeAuthorizerConfig"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	d, err := c.w.findDomain(c.path["domainConfigurationName"])
	if err != nil {
		return nil, err
	}
	next := *d
	if err := in.apply(c.w, &next); err != nil {
		return nil, err
	}
	switch in.Status {
	case "":
	case "ENABLED", "DISABLED":
		if d.name == standardDomain && in.Status == "DISABLED" {
			return nil, invalid("The domain configuration %s cannot be disabled", standardDomain)
		}
		if next.enabled = in.Status == "ENABLED"; next.enabled != d.enabled {
			next.changed = c.w.now()
		}
	default:
		return nil, invalid("domainConfigurationStatus must be ENABLED or DISABLED, not %q", clip(in.Status, 64))
	}
	*d = next
	return map[string]string{"domainConfigurationName": d.name, "domainConfigurationArn": c.w.domainARN(d.name)}, nil
}

// deleteDomain wants a DISABLED configuration, which is why terraform-provider-aws
// disables one before it deletes it. The one of AWS's own stays.
func deleteDomain(c *call) (any, error) {
	d, err := c.w.findDomain(c.path["domainConfigurationName"])
	if err != nil {
		return nil, err
	}
	if d.name == standardDomain || d.enabled {
		return nil, invalid("The domain configuration %s must be DISABLED before it is deleted, and that of AWS itself cannot be", d.name)
	}
	delete(c.w.domain.configs, d.name)
	delete(c.w.tags, c.w.domainARN(d.name))
	c.w.sim.tls.removeDomain(c.w.serverNameOf(d.name))
	return nil, nil
}
