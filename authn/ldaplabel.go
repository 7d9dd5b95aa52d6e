package authn

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// Bounds on the groups of one account.
const (
	maxGroups     = 1000
	maxGroupDepth = 16 // groups in groups
	maxTogether   = 50 // groups asked about in one search
)

// labels returns what rules may ask for about the account of an entry.
func (d *directory) labels(ctx context.Context, c *ldapConn, e *ldap.Entry, account string) (map[string][]string, error) {
	labels := map[string][]string{}
	for name, l := range d.options.Labels {
		values, err := valuesOf(e, l.Attribute)
		if err != nil {
			return nil, err
		}
		for _, value := range values {
			if l.ParseCN {
				if value = commonName(value); value == "" {
					continue
				}
			}
			if l.LowerCase {
				value = strings.ToLower(value)
			}
			labels[name] = append(labels[name], value)
		}
	}
	if d.options.Groups.Filter != "" {
		groups, err := d.groups(ctx, c, e, account)
		if err != nil {
			return nil, err
		}
		labels[d.options.Groups.Label] = append(labels[d.options.Groups.Label], groups...)
	}
	for name, values := range labels {
		if len(values) == 0 {
			delete(labels, name)
			continue
		}
		slices.Sort(values)
		labels[name] = slices.Compact(values)
	}
	if len(labels) == 0 {
		return nil, nil
	}
	return labels, nil
}

// valuesOf returns the values of an attribute. A part of them is an error: who is taken for no member of a group may be
// let in where members are not.
func valuesOf(e *ldap.Entry, attribute string) ([]string, error) {
	for _, a := range e.Attributes {
		if name, _, ranged := strings.Cut(a.Name, ";range="); ranged && strings.EqualFold(name, attribute) {
			return nil, fmt.Errorf("the server shows a part of the attribute %s only; find groups by a search", attribute)
		}
	}
	return slices.Clone(e.GetEqualFoldAttributeValues(attribute)), nil
}

// commonName returns the first CN in a DN, "" if there is none.
func commonName(dn string) string {
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return ""
	}
	for _, rdn := range parsed.RDNs {
		for _, a := range rdn.Attributes {
			if strings.EqualFold(a.Type, "cn") {
				return a.Value
			}
		}
	}
	return ""
}

// groups returns the names of the groups of an entry and, where that is asked for, of the groups that these are in.
func (d *directory) groups(ctx context.Context, c *ldapConn, e *ldap.Entry, account string) (names []string, err error) {
	g := d.options.Groups
	pairs := []string{"${dn}", e.DN, "${account}", account}
	for _, attribute := range placeholders(g.Filter) {
		pairs = append(pairs, "${"+attribute+"}", e.GetEqualFoldAttributeValue(attribute))
	}
	filters := []string{expand(g.Filter, pairs...)}
	seen := map[string]bool{}
	for depth := 0; len(filters) > 0; depth++ {
		if depth == maxGroupDepth {
			return nil, fmt.Errorf("the groups of %q are nested more than %d deep", account, maxGroupDepth)
		}
		var next []string
		for some := range slices.Chunk(filters, maxTogether) {
			filter := some[0]
			if len(some) > 1 {
				filter = "(|" + strings.Join(some, "") + ")"
			}
			found, err := c.search(ctx, g.Base, filter, []string{g.Attribute}, maxGroups)
			if err != nil {
				return nil, fmt.Errorf("search groups: %w", err)
			}
			for _, group := range found {
				key := strings.ToLower(group.DN)
				if seen[key] {
					continue
				}
				seen[key] = true
				names = append(names, group.GetEqualFoldAttributeValues(g.Attribute)...)
				if g.Nested {
					pairs[1] = group.DN
					next = append(next, expand(g.Filter, pairs...))
				}
			}
			if len(seen) > maxGroups {
				return nil, fmt.Errorf("%q is in more than %d groups", account, maxGroups)
			}
		}
		filters = next
	}
	if g.LowerCase {
		for i := range names {
			names[i] = strings.ToLower(names[i])
		}
	}
	return names, nil
}
