package policy

import (
	"net/netip"
	"slices"
)

// service is an address that hosts need whatever their routes and files say.
type service struct {
	prefix string
	what   string
	source string // the document that names the address
}

// services returns the addresses that no list may cut off on any host. Those of clouds are
// link-local, so a host elsewhere loses nothing if they cannot be blocked.
func services() []service {
	return []service{
		{"127.0.0.0/8", "loopback", "RFC 1122"},
		{"::1/128", "loopback", "RFC 4291"},
		{"fe80::/10", "link-local, which IPv6 neighbour discovery needs", "RFC 4861"},
		{"0.0.0.0/32", "the unspecified address, from which DHCP clients ask", "RFC 2131"},
		{"::/128", "the unspecified address, which duplicate address detection needs", "RFC 4862"},
		{"255.255.255.255/32", "the broadcast address", "RFC 919"},
		{"224.0.0.0/4", "multicast", "RFC 1112"},
		{"ff00::/8", "multicast, which IPv6 neighbour discovery needs", "RFC 4291"},
		{"169.254.169.254/32", "the cloud metadata service", "docs.aws.amazon.com, EC2: instance metadata"},
		{"169.254.169.253/32", "the DNS resolver of AWS", "docs.aws.amazon.com, VPC: Amazon DNS"},
		{"169.254.169.123/32", "the time service of AWS", "docs.aws.amazon.com, EC2: Amazon Time Sync Service"},
		{"169.254.169.250/31", "the activation service of AWS", "docs.aws.amazon.com, EC2: Windows activation"},
		{"169.254.170.2/32", "the credentials of containers on AWS",
			"docs.aws.amazon.com, SDKs: container credentials"},
		{"169.254.170.23/32", "the credentials of containers on AWS",
			"docs.aws.amazon.com, SDKs: container credentials"},
		{"169.254.169.252/32", "the metadata service of Google Kubernetes Engine",
			"cloud.google.com, GKE: metadata server"},
		{"169.254.0.2/32", "the boot volume on Oracle Cloud", "docs.oracle.com, OCI: essential firewall rules"},
		{"169.254.0.3/32", "the update service of Oracle Cloud", "docs.oracle.com, OCI: essential firewall rules"},
		{"169.254.2.0/24", "the block volumes on Oracle Cloud", "docs.oracle.com, OCI: essential firewall rules"},
		{"169.254.0.23/32", "the metadata service of Tencent Cloud", "www.tencentcloud.com, CVM: instance metadata"},
		{"169.254.42.42/32", "the metadata service of Scaleway", "www.scaleway.com, Instances: metadata"},
	}
}

// cloudServices returns the services of clouds that have other addresses than link-local ones, by
// the name of the cloud. On other hosts these addresses may be ordinary ones of a wide prefix.
func cloudServices() map[string][]service {
	return map[string][]service{
		"AWS": {
			{"fd00:ec2::254/128", "the metadata service of AWS", "docs.aws.amazon.com, EC2: instance metadata"},
			{"fd00:ec2::253/128", "the DNS resolver of AWS", "docs.aws.amazon.com, VPC: Amazon DNS"},
			{"fd00:ec2::123/128", "the time service of AWS", "docs.aws.amazon.com, EC2: Amazon Time Sync Service"},
			{"fd00:ec2::23/128", "the credentials of containers on AWS",
				"docs.aws.amazon.com, SDKs: container credentials"},
		},
		"Google Cloud": {
			{"fd20:ce::254/128", "the metadata service of Google Cloud",
				"cloud.google.com, Compute Engine: VM metadata"},
		},
		"Azure": {
			{"168.63.129.16/32", "the DHCP, DNS and health service of Azure",
				"learn.microsoft.com: IP address 168.63.129.16"},
		},
		"Alibaba Cloud": {
			{"100.100.100.200/32", "the metadata service of Alibaba Cloud",
				"www.alibabacloud.com, ECS: instance metadata"},
			{"100.100.2.136/32", "the DNS resolver of Alibaba Cloud", "www.alibabacloud.com, ECS: default DNS servers"},
			{"100.100.2.138/32", "the DNS resolver of Alibaba Cloud", "www.alibabacloud.com, ECS: default DNS servers"},
		},
		"Oracle Cloud": {
			{"fd00:c1::a9fe:a9fe/128", "the metadata service of Oracle Cloud",
				"docs.oracle.com, OCI: instance metadata"},
		},
		"Scaleway": {
			{"fd00:42::42/128", "the metadata service of Scaleway", "www.scaleway.com, Instances: metadata"},
		},
		"Akamai": {
			{"fd00:a9fe:a9fe::1/128", "the metadata service of Akamai (Linode)",
				"techdocs.akamai.com: Metadata service"},
		},
	}
}

// CloudService is a service of a cloud.
type CloudService struct {
	Protected
	Cloud string // "AWS"
}

// CloudServices returns the services of clouds that have other addresses than link-local ones.
// NewGuard protects them from narrow blocks. On a host in the cloud, they are to be protected from
// wider ones as well.
func CloudServices() []CloudService {
	var list []CloudService
	for cloud, all := range cloudServices() {
		for _, s := range all {
			list = append(list, CloudService{s.protected(), cloud})
		}
	}
	slices.SortFunc(list, func(a, b CloudService) int { return a.Prefix.Compare(b.Prefix) })
	return list
}

func (s service) protected() Protected {
	return Protected{Prefix: netip.MustParsePrefix(s.prefix), What: s.what}
}

// alwaysProtected returns what is protected on every host.
func alwaysProtected() []Protected {
	var list []Protected
	for _, s := range services() {
		list = append(list, s.protected())
	}
	for _, s := range CloudServices() {
		s.Narrow = true
		list = append(list, s.Protected)
	}
	return list
}
