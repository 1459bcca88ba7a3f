"""Writes a file's bytes as a C array: embed.py SYMBOL HEADER INPUT OUTPUT."""
import sys

symbol, header, source, target = sys.argv[1:]
with open(source, 'rb') as stream:
    data = stream.read()
lines = [', '.join(f'0x{byte:02x}' for byte in data[at:at + 16]) for at in range(0, len(data), 16)]
with open(target, 'w', encoding='ascii') as stream:
    stream.write(f'#include "{header}"\n\nconst uint8_t {symbol}[] = {{\n')
    stream.writelines(f'\t{line},\n' for line in lines)
    stream.write(f'}};\nconst size_t {symbol}_size = sizeof({symbol});\n')
