#!/bin/sh
# Debian's translated descriptions, LibreOffice's help and GNOME's documents, into a folder: 150 MB down, 1 GB unpacked.
#
#     sh fetch.sh work/packages
#
# apt is given lists and a cache of its own, so the system's stay as they are. It needs a Debian 12 machine, not root.
set -eu
mkdir -p "$1/lists/partial" "$1/cache/archives/partial" "$1/debs" "$1/tree"
cd "$1"
here=$(pwd)
descriptions="ar,bg,ca,cs,da,de,el,en,eo,es,eu,fi,fr,gl,hi,hr,hu,id,it,ja,ko,nl,pl,pt,pt_BR,ro,ru,sk,sr,sv,tr,uk,vi,zh,zh_CN,zh_TW"
help="ca cs da de el en-us es et eu fi fr gl hi hu id it ja ko nl pl pt pt-br ru sl sv tr vi zh-cn zh-tw"
options="-o Dir::State::lists=$here/lists -o Dir::Cache=$here/cache -o Acquire::GzipIndexes=false -o APT::Sandbox::User="
apt-get $options -o Acquire::Languages="$descriptions" update
cd debs
apt-get $options download gnome-user-docs $(for language in $help; do echo "libreoffice-help-$language"; done)
for package in *.deb; do
    case $package in gnome*) pages="*.page" ;; *) pages="*/text/*.html" ;; esac
    dpkg-deb --fsys-tarfile "$package" | tar --extract --directory ../tree --wildcards "$pages"
done
cd ..
echo "$(ls lists | grep -c Translation) lists, $(find tree -name '*.html' | wc -l) pages of help, $(find tree -name '*.page' | wc -l) of GNOME"
