/* VLAN tags by BPF: see vlan_tagger.h. */
#include "net/vlan_tagger.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#define VLAN_UNTAGGED 1
#define VLAN_ID_MASK 0xfff
#define FILTER_PRIORITY 1
#define FILTER_HANDLE 1

/* ---- the programs; each ends with the verdict in R0, and keeps its context in R6 ---- */

#define OPERATION(operation, to, from, jump, value) \
    ((struct bpf_insn){                             \
        .code = (operation), .dst_reg = (to), .src_reg = (from), .off = (jump), .imm = (value)})
#define SET(to, value) OPERATION(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value)
#define COPY(to, from) OPERATION(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0)
#define MASK(to, value) OPERATION(BPF_ALU64 | BPF_AND | BPF_K, to, 0, 0, value)
#define LOAD(to, field) \
    OPERATION(BPF_LDX | BPF_MEM | BPF_W, to, BPF_REG_6, (short)offsetof(struct __sk_buff, field), 0)
#define CALL(helper) OPERATION(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define END OPERATION(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define SKIP_NEXT_TWO_IF_EQUAL(of, value) OPERATION(BPF_JMP | BPF_JEQ | BPF_K, of, 0, 2, value)

/* Ends with a drop unless the register has the value. */
#define REQUIRE(of, value) SKIP_NEXT_TWO_IF_EQUAL(of, value), SET(BPF_REG_0, TC_ACT_SHOT), END
#define PASS SET(BPF_REG_0, TC_ACT_OK), END

static int load_program(const struct bpf_insn *code, size_t count)
{
    union bpf_attr attributes = {0};
    attributes.prog_type = BPF_PROG_TYPE_SCHED_CLS;
    attributes.insns = (uintptr_t)code;
    attributes.insn_cnt = (uint32_t)count;
    attributes.license = (uintptr_t) "MIT";
    memcpy(attributes.prog_name, "drover_vlan", sizeof("drover_vlan"));
    int fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof(attributes));
    return fd < 0 ? -errno : fd;
}

static int load_array(const struct bpf_insn *code, size_t size)
{
    return load_program(code, size / sizeof(*code));
}

/* Both ways for VLAN 1: what has a tag is dropped. */
static int load_untagged_only(void)
{
    const struct bpf_insn code[] = {
        COPY(BPF_REG_6, BPF_REG_1),
        LOAD(BPF_REG_1, vlan_present),
        REQUIRE(BPF_REG_1, 0),
        PASS,
    };
    return load_array(code, sizeof(code));
}

static int load_from_guest(uint16_t vlan)
{
    const struct bpf_insn code[] = {
        COPY(BPF_REG_6, BPF_REG_1),
        LOAD(BPF_REG_1, vlan_present),
        REQUIRE(BPF_REG_1, 0),
        COPY(BPF_REG_1, BPF_REG_6),
        SET(BPF_REG_2, htons(ETH_P_8021Q)),
        SET(BPF_REG_3, vlan),
        CALL(BPF_FUNC_skb_vlan_push),
        REQUIRE(BPF_REG_0, 0),
        PASS,
    };
    return load_array(code, sizeof(code));
}

static int load_to_guest(uint16_t vlan)
{
    const struct bpf_insn code[] = {
        COPY(BPF_REG_6, BPF_REG_1),    LOAD(BPF_REG_1, vlan_present),
        REQUIRE(BPF_REG_1, 1),         LOAD(BPF_REG_1, vlan_tci),
        MASK(BPF_REG_1, VLAN_ID_MASK), REQUIRE(BPF_REG_1, vlan),
        COPY(BPF_REG_1, BPF_REG_6),    CALL(BPF_FUNC_skb_vlan_pop),
        REQUIRE(BPF_REG_0, 0),         PASS,
    };
    return load_array(code, sizeof(code));
}

/* ---- putting them on a link ---- */

static int add_hooks(struct netlink *netlink, int link)
{
    struct tcmsg header = {.tcm_family = AF_UNSPEC,
                           .tcm_ifindex = link,
                           .tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0),
                           .tcm_parent = TC_H_CLSACT};
    struct nl_msg *message = nlmsg_alloc_simple(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL);
    if (message) {
        nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
        nla_put_string(message, TCA_KIND, "clsact");
    }
    int result = netlink_request(netlink, message);
    return result == -EEXIST ? 0 : result;
}

static int hook_program(struct netlink *netlink, int link, uint32_t direction, int program)
{
    struct tcmsg header = {.tcm_family = AF_UNSPEC,
                           .tcm_ifindex = link,
                           .tcm_handle = FILTER_HANDLE,
                           .tcm_parent = TC_H_MAKE(TC_H_CLSACT, direction),
                           .tcm_info = TC_H_MAKE(FILTER_PRIORITY << 16, htons(ETH_P_ALL))};
    struct nl_msg *message = nlmsg_alloc_simple(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE);
    if (message) {
        nlmsg_append(message, &header, sizeof(header), NLMSG_ALIGNTO);
        nla_put_string(message, TCA_KIND, "bpf");
        struct nlattr *options = nla_nest_start(message, TCA_OPTIONS);
        nla_put_u32(message, TCA_BPF_FD, (uint32_t)program);
        nla_put_string(message, TCA_BPF_NAME, "drover_vlan");
        nla_put_u32(message, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
        nla_nest_end(message, options);
    }
    return netlink_request(netlink, message);
}

int vlan_tagger_install(struct netlink *netlink, int link, uint16_t vlan)
{
    bool tagged = vlan != VLAN_UNTAGGED;
    CLEANUP_CLOSE int from_guest = tagged ? load_from_guest(vlan) : load_untagged_only();
    CLEANUP_CLOSE int to_guest = tagged ? load_to_guest(vlan) : load_untagged_only();
    if (from_guest < 0 || to_guest < 0) {
        return from_guest < 0 ? from_guest : to_guest;
    }
    int result = add_hooks(netlink, link);
    if (result == 0) {
        result = hook_program(netlink, link, TC_H_MIN_INGRESS, from_guest);
    }
    return result < 0 ? result : hook_program(netlink, link, TC_H_MIN_EGRESS, to_guest);
}
