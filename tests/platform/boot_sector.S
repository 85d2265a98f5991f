/*
 * A guest that proves its own memory, in one boot sector.
 *
 * For ever: counts up, writes the counter to both ends of each of the 96 pages from 0x20000 to
 * 0x80000, then checks them all. Says '.' on the first serial port every 256 rounds, and 'X'
 * whenever a value is wrong. Real mode only, so that it also runs where a 64-bit kernel cannot (a
 * paravirtual KVM).
 */
    .section .rodata
    .code16
    .globl boot_sector
    .balign 16
boot_sector:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    xorl %ebx, %ebx

next_round:
    incl %ebx
    movw $0x2000, %ax
write_segment:
    movw %ax, %es
    xorw %di, %di
    movw $16, %cx
write_page:
    movl %ebx, %es:(%di)
    movl %ebx, %es:4092(%di)
    addw $4096, %di
    loop write_page
    addw $0x1000, %ax
    cmpw $0x8000, %ax
    jne write_segment

    movw $0x2000, %ax
check_segment:
    movw %ax, %es
    xorw %di, %di
    movw $16, %cx
check_page:
    cmpl %ebx, %es:(%di)
    jne wrong
    cmpl %ebx, %es:4092(%di)
    jne wrong
    addw $4096, %di
    loop check_page
    addw $0x1000, %ax
    cmpw $0x8000, %ax
    jne check_segment

    testb %bl, %bl
    jnz next_round
    movb $'.', %al
    jmp say
wrong:
    movb $'X', %al
say:
    movw $0x3f8, %dx
    outb %al, %dx
    jmp next_round

    .org boot_sector + 510
    .word 0xaa55

    .section .note.GNU-stack, "", @progbits
