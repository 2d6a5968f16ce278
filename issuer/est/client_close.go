package est

// Close closes connections that are kept for further requests. The client stays
// usable.
func (c *Client) Close() { c.shared().CloseIdleConnections() }
